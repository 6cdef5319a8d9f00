"""The data sets are what they were: checksums, disjoint splits, bits that no library version can change."""

import hashlib
import itertools
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from genmodels import data
from genmodels.data import counter, files, images, texts

SIZES = {
    "digits": (1297, 250, 250),
    "mnist": (50_000, 10_000, 10_000),
    "portraits": (8000, 1000, 1000),
    "shakespeare": (934_727, 116_940, 117_146),
    "quatrains": (8063, 1025, 1071),
}
BINARY = {  # sha256 of the packed bits
    "train": "c095c8eeb149cd11f405b47d834e30e6901fd1e2779bc9f20806d23f315c6c90",
    "valid": "7a6c443847ea0658f361f7df99bbb5995adb84b89de49a8685af14a6ca009c99",
    "test": "8aa986431bf31c0451adbe2d89662e7cb0de6f4f7b11255775211fd081517e4c",
}


def digest(x: torch.Tensor) -> str:
    return hashlib.sha256(x.numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("name", SIZES)
def test_sizes_kinds_and_the_same_bytes_twice(name):
    for split, n in zip(data.SPLITS, SIZES[name], strict=True):
        first, second = data.load(name, split), data.load(name, split)
        assert len(first[0]) == n
        assert digest(first[0][-5000:]) == digest(second[0][-5000:])
        if isinstance(first, data.Text):
            assert first.tokens.dtype == torch.int64 and int(first.tokens.max()) < len(first.alphabet)
        else:
            assert first.x.dtype == torch.float32 and first.x.ndim == 4
            assert first.x.min() == 0 and first.x.max() == 1


@pytest.mark.parametrize("name", ["digits", "mnist", "portraits"])
def test_no_picture_is_in_two_splits(name):
    seen = [{hash(row.tobytes()) for row in data.load(name, s).x.numpy()} for s in data.SPLITS]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not seen[i] & seen[j]


def test_changing_what_is_returned_does_not_change_the_data():
    before = digest(data.mnist("test", limit=50).x)
    data.mnist("test", limit=50).x.zero_()
    data.digits("test").x.zero_()
    assert digest(data.mnist("test", limit=50).x) == before
    assert data.digits("test").x.max() == 1
    tokens = data.shakespeare("test").tokens
    tokens.zero_()
    assert data.shakespeare("test").tokens.any()


def test_mnist_gives_back_the_published_files():
    x, y = images._mnist_raw(files.locate("mnist.xz"))
    md5 = lambda head, body: hashlib.md5(struct.pack(f">{len(head)}i", *head) + body.tobytes()).hexdigest()
    assert md5((2051, 60_000, 28, 28), x[:60_000]) == "6bbc9ace898e44ae57da46a324031adb"
    assert md5((2051, 10_000, 28, 28), x[60_000:]) == "2646ac647ad5339dbf082846283269ea"
    assert md5((2049, 60_000), y[:60_000]) == "a25bea736e30d166cdddb491f175f624"
    assert md5((2049, 10_000), y[60_000:]) == "27ae3e4e09519cfbb04c329615203637"


def test_splitmix64_is_the_published_generator():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert counter.splitmix64(np.arange(4), 1234567).tolist() == published


def splitmix64_in_whole_numbers(index: int, seed: int) -> int:
    wrap = 2**64 - 1
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & wrap
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & wrap
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & wrap
    return z ^ z >> 31


@pytest.mark.parametrize("split, first", [("train", 0), ("valid", 50_000), ("test", 60_000)])
def test_the_binarisation_is_its_rule_and_its_checksum(split, first):
    x = data.mnist(split, binary=True).x
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert hashlib.sha256(np.packbits(x.numpy().astype(np.uint8)).tobytes()).hexdigest() == BINARY[split]
    level = (data.mnist(split, limit=3).x * 255).round().int().flatten().tolist()
    bits = x[:3].flatten().tolist()
    for i, (value, bit) in enumerate(zip(level, bits, strict=True)):
        u = splitmix64_in_whole_numbers(first * 784 + i, images.BINARY_SEED) >> 32
        assert bit == (u * 255 < value * 2**32)


def test_bernoulli_has_the_right_probability_at_every_level():
    n = 20_000
    for level in (0, 1, 77, 128, 254, 255):
        draws = counter.bernoulli(np.full(n, level, np.uint8), first=10**6 * level, seed=5)
        p = level / 255
        assert abs(draws.mean() - p) <= 4.5 * (p * (1 - p) / n) ** 0.5  # n = 20000
    a, b = (counter.bernoulli(np.full(n, 128, np.uint8), 0, seed).astype(float) for seed in (1, 2))
    assert abs(np.corrcoef(a, b)[0, 1]) < 4.5 / n**0.5
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 4.5 / n**0.5


def test_independent_pixels_score_205_9_nats():
    train, test = data.mnist("train", binary=True).x, data.mnist("test", binary=True).x
    p = (train.double().sum(0) + 1) / (len(train) + 2)
    nll = -(test * p.log() + (1 - test) * (1 - p).log()).flatten(1).sum(1)
    error = float(nll.std()) / len(nll) ** 0.5
    assert error < 0.5
    assert abs(float(nll.mean()) - 205.9) < 0.5


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    source = load_digits()
    parts = [data.digits(s) for s in data.SPLITS]
    x = torch.cat([p.x for p in parts])
    assert sorted(map(bytes, (x * 16).byte().numpy())) == sorted(map(bytes, source.images.astype(np.uint8)))
    by_bytes = {bytes(i): t for i, t in zip(source.images.astype(np.uint8), source.target, strict=True)}
    for part in parts:
        assert [by_bytes[bytes(i)] for i in (part.x * 16).byte().numpy()] == part.label.tolist()


def test_portraits_carry_their_attributes():
    p = data.portraits("train")
    assert len(p.attributes) == 11 and set(p.attributes) == set(p.words)
    for name, index in p.attributes.items():
        assert index.shape == (8000,) and 0 <= index.min() and index.max() < len(p.words[name])
    for name, share in (("glasses", 0.35), ("hat", 0.20), ("beard", 0.15), ("accessories", 0.15)):
        assert p.words[name][0] == "None"
        worn = (p.attributes[name] > 0).double().mean()
        assert abs(worn - share) < 4.5 * (share * (1 - share) / 8000) ** 0.5  # n = 8000
    levels = (p.x * 255).round().int()
    for k, word in enumerate(p.words["clothingColor"]):  # the picture and its attributes belong together
        colour = torch.tensor([int(word[i : i + 2], 16) for i in (1, 3, 5)])[:, None, None]
        shown = (levels == colour).all(1).flatten(1).any(1)
        assert torch.equal(shown, p.attributes["clothingColor"] == k)


@pytest.mark.parametrize("attribute", ["skinColor", "clothingColor", "hair"])
def test_portrait_splits_are_alike(attribute):
    from scipy.stats import chi2_contingency

    k = len(data.portraits("test").words[attribute])
    counts = [torch.bincount(data.portraits(s).attributes[attribute], minlength=k).numpy() for s in data.SPLITS]
    assert chi2_contingency(np.array(counts)).pvalue > 1e-4


def test_shakespeare_is_the_file_cut_in_order():
    parts = [data.shakespeare(s) for s in data.SPLITS]
    joined = "".join(p.decode(p.tokens) for p in parts)
    assert joined == files.locate("shakespeare.txt").read_text("ascii")
    assert all(p.alphabet == parts[0].alphabet and len(p.alphabet) == 69 for p in parts)
    assert all(p.decode(p.tokens[-2:]) == "\n\n" for p in parts[:2])


def test_text_round_trip_and_unknown_characters():
    text = data.shakespeare("test")
    assert text.decode(text.encode("Exit, pursued by a bear.")) == "Exit, pursued by a bear."
    with pytest.raises(ValueError, match="alphabet of 69 characters: '€'"):
        text.encode("5 €".replace("5", "a"))
    poems = data.quatrains("test")
    assert poems.tokens.shape[1] == 32 and len(poems.alphabet) == 4753
    first = poems.decode(poems.tokens[0])
    assert [first[i] for i in (7, 15, 23, 31)] == list("，。，。")
    assert poems.decode(poems.tokens[:3]).split("\n")[0] == first


def closest(test: torch.Tensor, train: torch.Tensor) -> int:
    """Most characters that a test poem shares with a training poem, place by place, of 28 (the marks left out)."""
    keep = [i for i in range(32) if i % 8 != 7]
    test, train = test[:, keep].short(), train[:, keep].short()
    return max(int((row == train).sum(1).max()) for row in test)


def test_no_variant_of_a_poem_is_in_two_splits():
    train, valid, test = (data.quatrains(s).tokens for s in data.SPLITS)
    assert len(torch.unique(torch.cat([train, valid, test]), dim=0)) == 10_159
    assert max(closest(test, torch.cat([train, valid])), closest(valid, train)) < 16


def test_the_twins_would_leak_without_the_families(monkeypatch):
    monkeypatch.setattr(texts, "_families", lambda poems: np.arange(len(poems)))
    codes, _, which = texts._quatrains.__wrapped__(files.locate("tang_quatrains.txt"))
    codes = torch.from_numpy(codes)
    assert closest(codes[which == 2][:300], codes[which == 0]) > 24


@pytest.mark.parametrize("name", SIZES)
def test_unknown_splits_and_names_list_the_choices(name):
    with pytest.raises(ValueError, match="unknown split 'dev': choose one of train, valid, test"):
        data.load(name, "dev")
    with pytest.raises(ValueError, match="'cifar'.*digits, mnist, portraits, shakespeare, quatrains"):
        data.load("cifar", "train")


def test_course_data_missing_damaged_and_right(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"shakespeare\.txt does not exist \(COURSE_DATA"):
        data.shakespeare("train")
    own = Path(files.__file__).parent
    for name in files.CHECKSUMS:
        shutil.copy(own / name, tmp_path)
    assert set(data.verify()) == set(files.CHECKSUMS)
    assert all(path.parent == tmp_path for path in data.verify().values())
    with open(tmp_path / "tang_quatrains.txt", "r+b") as f:
        f.write(b"x")
    with pytest.raises(ValueError, match=r"tang_quatrains\.txt is damaged or another version.*4c3c8b132dc841a2"):
        data.quatrains("train")
    with pytest.raises(ValueError, match="limit"):
        data.mnist("train", limit=0)
    with pytest.raises(ValueError, match="unknown data file"):
        files.locate("cifar.npz")


def test_the_datasheet_names_every_file_with_its_checksum():
    folder = Path(files.__file__).parent
    sheet = (folder / "DATASHEET.md").read_text()
    for name, checksum in files.CHECKSUMS.items():
        assert name in sheet and checksum in sheet and f"{(folder / name).stat().st_size:,}" in sheet
    for sizes in SIZES.values():
        assert all(f"{n:,}" in sheet for n in sizes)


def quarter_digits_are_means():
    """Each pixel of side 14 is the mean of four, to the nearest grey level, halves upwards: in whole numbers."""
    fine, coarse = data.mnist("test", limit=50), data.mnist("test", limit=50, side=14)
    level = (fine.x * 255).round().long()
    want = torch.zeros(50, 1, 14, 14, dtype=torch.long)
    for i, j in itertools.product(range(14), range(14)):
        four = level[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].flatten(2).sum(2)
        want[:, :, i, j] = (2 * four + 4) // 8
    assert torch.equal((coarse.x * 255).round().long(), want)
    assert torch.equal(coarse.label, fine.label)
    assert 0 < (want == 0).float().mean() < 1


def test_quarter_digits_are_means():
    quarter_digits_are_means()


@pytest.mark.parametrize(("old", "new"), [(" + 2) // 4", ") // 4"), ("sum((3, 5))", "sum((2, 4))")])
def test_oracle_of_quarter_digits_catches(old, new, edit):
    edit(data.mnist, old, new)
    with pytest.raises((AssertionError, RuntimeError)):
        quarter_digits_are_means()


def test_other_sides_are_refused():
    with pytest.raises(ValueError, match="side must be 28 or 14 pixels; got 7"):
        data.mnist("test", side=7)
    with pytest.raises(ValueError, match="black and white pixels exist at side 28 only; got side = 14"):
        data.mnist("test", True, side=14)
