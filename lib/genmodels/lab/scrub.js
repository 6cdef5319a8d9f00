// Sliders over pictures. Frames that are known are shown at once; others are asked for, one at a time, and kept; when
// nothing is asked for, the missing neighbours along the first slider are fetched ahead.
function mountScrubber(root, spec, ask) {
  const frames = new Map(Object.entries(spec.frames));
  const place = [...spec.start];
  const key = () => place.join(",");
  let waiting = null;
  let timer = null;

  root.replaceChildren();
  root.classList.add("gm-scrub");
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", spec.alt);
  root.dataset.lmSuppressShortcuts = "true"; // the keys belong to the sliders, not to the notebook's shortcuts,
  root.addEventListener("keydown", (event) => event.stopPropagation()); // nor to its cells

  const picture = document.createElement("img");
  picture.width = spec.width;
  if (spec.pixelated) picture.classList.add("gm-pixels");
  const problem = document.createElement("pre");
  problem.setAttribute("role", "alert");
  problem.hidden = true;
  const panel = document.createElement("div");
  panel.className = "gm-controls";

  const sliders = spec.controls.map((control, k) => {
    const label = document.createElement("label");
    const name = document.createElement("span");
    name.textContent = control.name;
    const slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: 0, max: control.values.length - 1, step: 1, value: place[k] });
    const value = document.createElement("output");
    slider.addEventListener("input", () => {
      place[k] = Number(slider.value);
      show();
    });
    label.append(name, slider, value);
    panel.append(label);
    return { slider, value, values: control.values };
  });

  const play = document.createElement("button");
  play.type = "button";
  const first = sliders[0];
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ play";
    play.setAttribute("aria-label", `play ${spec.controls[0].name}`);
  };
  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (place[0] === first.values.length - 1) place[0] = -1;
    play.textContent = "❚❚ pause";
    play.setAttribute("aria-label", "pause");
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
    sliders.forEach(({ slider, value, values }, k) => {
      const at = Math.max(place[k], 0);
      slider.value = at;
      value.textContent = values[at];
      slider.setAttribute("aria-valuetext", values[at]);
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
