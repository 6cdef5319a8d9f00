// Sliders over pictures. Frames that are known are shown at once; others are asked for, one at a time, and kept; when
// nothing is asked for, the missing neighbours along the first slider are fetched ahead.
function mountScrubber(root, spec, ask) {
  const frames = new Map(Object.entries(spec.frames));
  const place = [...spec.start];
  const key = () => place.join(",");
  let waiting = null;
  let timer = null;

  gmRoot(root, spec.alt, "gm-scrub");
  const picture = gmElement("img", { width: spec.width, className: spec.pixelated ? "gm-pixels" : "" });
  const problem = gmElement("pre", { role: "alert", hidden: true });
  const sliders = spec.controls.map((control, k) => {
    const changed = (at) => {
      place[k] = at;
      show();
    };
    return { ...gmControl(control, place[k], changed), values: control.values };
  });
  const panel = gmElement("div", { className: "gm-controls" }, ...sliders.map((slider) => slider.row));

  const play = gmElement("button", { type: "button" });
  const first = sliders[0];
  const stop = () => {
    clearInterval(timer);
    timer = null;
    gmPlayButton(play, false, spec.controls[0].name);
  };
  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (place[0] === first.values.length - 1) place[0] = -1;
    gmPlayButton(play, true, spec.controls[0].name);
    timer = setInterval(() => {
      if (waiting === key()) return; // wait for the picture that is being drawn
      if (place[0] >= first.values.length - 1 || !root.isConnected) return stop();
      place[0] += 1;
      show();
    }, 1000 / spec.fps);
  });
  if (first.values.length > 1) panel.append(play);
  stop();
  root.append(picture, problem, panel);

  function request(k) {
    if (ask && waiting === null) {
      waiting = k;
      ask(k);
    }
  }

  function show() {
    const said = [];
    sliders.forEach(({ set, values }, k) => {
      const at = Math.max(place[k], 0);
      set(at);
      said.push(`${spec.controls[k].name} ${values[at]}`);
    });
    const known = frames.get(key());
    picture.classList.toggle("gm-waiting", known === undefined);
    if (known !== undefined) {
      picture.src = known;
      picture.alt = `${spec.alt} (${said.join(", ")})`;
      root.dataset.shown = key();
    } else {
      request(key());
    }
  }

  function fetchAhead() {
    if (!ask) return;
    const here = place[0];
    for (let gap = 1; gap < first.values.length; gap++) {
      for (const at of [here + gap, here - gap]) {
        if (at < 0 || at >= first.values.length) continue;
        const k = [at, ...place.slice(1)].join(",");
        if (!frames.has(k)) return request(k);
      }
    }
  }

  show();
  fetchAhead();
  return function receive(k, source, error) {
    if (waiting === k) waiting = null;
    if (error && k !== key()) return; // it was fetched ahead: said when somebody comes there
    problem.hidden = !error;
    problem.textContent = error || "";
    if (error) return;
    frames.set(k, source);
    if (k === key()) show();
    if (!frames.has(key())) request(key());
    else fetchAhead();
  };
}
