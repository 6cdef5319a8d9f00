// The player. `ask(request)` sends a setting to Python and `receive(answer, bytes)` takes what comes back; on a page
// without Python `ask` is null and `film` is the one film that the page holds.
const GM_SHORTEST = 2; // seconds: a film of few frames plays no faster than that
const GM_KEYS = "Click or space: play and pause. Arrows, Page keys, Home, End: frame by frame.";

function mountPlayer(root, spec, ask, film) {
  gmRoot(root, spec.alt, "gm-play");
  const view = GM_VIEWS[spec.kind](spec.view);
  const id = Math.random().toString(36).slice(2);
  const place = [...spec.start];
  let head = null; // of the film that is shown
  let at = 0; // the moment: 2.5 is half way from frame 2 to frame 3
  let width = 0;
  let colours = {};
  let playing = null; // the time of the last tick
  let number = 0;
  let flying = null; // the request that Python works on, at most one
  let wanted = null; // the newest setting, sent when the answer has come
  let asked = 0;
  let clock = null;

  const canvas = gmElement("canvas", { tabIndex: 0, role: "img", className: "gm-canvas", title: GM_KEYS });
  const text = gmElement("pre", { className: "gm-hidden" });
  const button = gmElement("button", { type: "button" });
  const line = gmElement("input", { type: "range", min: 0, max: 0, step: 1, className: "gm-time" });
  line.setAttribute("aria-label", "frame");
  const moment = gmElement("span", { className: "gm-value", ariaHidden: "true" });
  const transport = gmElement("div", { className: "gm-transport" }, button, line, moment);
  const caption = gmElement("p", { className: "gm-caption" });
  const note = gmElement("p", { className: "gm-note" });
  const stage = gmElement("div", { className: "gm-stage", hidden: true }, canvas, text, transport, caption, note);
  const lamp = gmElement("span", { className: "gm-lamp", ariaHidden: "true" });
  const status = gmElement("span", { role: "status" });
  const error = gmElement("div", { className: "gm-problem", role: "alert", hidden: true });
  const panel = gmElement("div", { className: "gm-controls" });
  const charts = spec.charts.map((chart) => gmChart(chart));
  const graphs = gmElement("div", { className: "gm-charts" }, ...charts.map((chart) => chart.node));
  const side = gmElement("div", { className: "gm-side" });
  root.append(gmElement("div", { className: "gm-desk" }, stage, side));

  if (ask) {
    spec.controls.forEach((control, k) => {
      const changed = (value) => {
        place[k] = value;
        request(false);
      };
      panel.append(gmControl(control, place[k], changed).row);
    });
    side.append(panel, gmElement("div", { className: "gm-status" }, lamp, status), error, graphs);
  } else {
    const set = spec.controls.map((control, k) => `${control.name} ${control.values[place[k]]}`).join(", ");
    if (set) status.textContent = `${set}. Run the cell to change the settings.`;
    side.append(gmElement("div", { className: "gm-status" }, status), graphs);
  }
  side.hidden = !spec.charts.length && !spec.controls.length;

  // ---- the moment

  function frames() {
    return head ? head.kept.length : 0;
  }

  function timeAt(moment) {
    if (!head.times) return null;
    const [a, b] = [head.times[Math.floor(moment)], head.times[Math.ceil(moment)]];
    return a === null || b === null ? null : a + (moment - Math.floor(moment)) * (b - a);
  }

  function paint() {
    if (!head || !width) return;
    const [w, h] = view.size(width);
    canvas.style.width = `${w}px`;
    canvas.style.height = `${h}px`;
    view.paint(gmResize(canvas, w, h), at, w, colours);
    const time = timeAt(at);
    const frame = Math.round(at);
    line.value = frame;
    const words = `${time === null ? "" : `t = ${time.toFixed(3)} · `}${head.kept[frame] + 1}/${head.total}`;
    moment.textContent = words;
    for (const chart of charts) chart.mark(time);
    root.dataset.frame = at.toFixed(3);
    if (playing === null) describe(frame, words);
  }

  function describe(frame, words) {
    const time = head.times ? `, ${words.split(" · ")[0]}` : "";
    line.setAttribute("aria-valuetext", `state ${head.kept[frame] + 1} of ${head.total}${time}`);
    canvas.setAttribute("aria-label", [`${spec.alt} (${words})`, head.caption, view.words].filter(Boolean).join(". "));
    if (view.text) text.textContent = view.text(frame);
    note.textContent = [head.note, view.words].filter(Boolean).join(" · ");
  }

  function go(to) {
    at = Math.min(Math.max(to, 0), frames() - 1);
    paint();
  }

  function stop() {
    playing = null;
    gmPlayButton(button, false, "the film");
    if (head) go(Math.round(at));
  }

  function tick(now) {
    if (playing === null) return;
    if (!root.isConnected) return stop();
    const rate = Math.min(spec.fps, Math.max(frames() - 1, 1) / GM_SHORTEST);
    at += (rate * (now - playing)) / 1000;
    playing = now;
    if (at >= frames() - 1) {
      at = frames() - 1;
      return stop();
    }
    paint();
    requestAnimationFrame(tick);
  }

  function toggle() {
    if (playing !== null) return stop();
    if (frames() < 2) return;
    if (at >= frames() - 1) at = 0;
    playing = performance.now();
    gmPlayButton(button, true, "the film");
    requestAnimationFrame(tick);
  }

  const jumps = {
    ArrowRight: () => at + 1, ArrowUp: () => at + 1, ArrowLeft: () => at - 1, ArrowDown: () => at - 1,
    PageUp: () => at + frames() / 10, PageDown: () => at - frames() / 10, Home: () => 0, End: () => Infinity,
  };
  for (const place of [button, canvas]) place.addEventListener("click", toggle);
  line.addEventListener("input", () => {
    const to = Number(line.value);
    if (playing !== null) stop();
    go(to);
  });
  root.addEventListener("keydown", (event) => {
    const plain = !event.ctrlKey && !event.altKey && !event.metaKey;
    const taken = event.target === button || event.target.matches("select, input[type=checkbox], .gm-small, summary");
    if (event.key === " " && plain && !taken) {
      event.preventDefault();
      toggle();
    } else if (event.target === canvas && plain && jumps[event.key]) {
      event.preventDefault();
      if (playing !== null) stop();
      go(Math.round(jumps[event.key]()));
    }
  });

  // ---- the settings: one request is under way at a time, and only the newest waits behind it

  function request(first) {
    wanted = { place: [...place], first };
    root.setAttribute("aria-busy", "true");
    lamp.classList.add("gm-on");
    asked = performance.now();
    clearInterval(clock);
    clock = setInterval(() => {
      const seconds = (performance.now() - asked) / 1000;
      root.classList.toggle("gm-slow", seconds > 0.25);
      if (seconds > 0.25) status.textContent = gmWaiting(seconds);
    }, 100);
    if (flying === null) send();
  }

  function send() {
    flying = `${id}-${++number}`;
    try {
      ask({ number: flying, ...wanted });
    } catch {
      flying = null;
      rest("Python cannot be reached, the kernel was restarted: run this cell again", true);
    }
    wanted = null;
  }

  function rest(words, failed) {
    clearInterval(clock);
    root.classList.remove("gm-slow");
    root.classList.toggle("gm-failed", failed);
    lamp.classList.remove("gm-on");
    root.setAttribute("aria-busy", "false");
    status.textContent = words;
  }

  function receive(answer, bytes) {
    if (answer.number !== flying) return; // of another view of this player
    flying = null;
    if (answer.problem) {
      if (!wanted) showProblem(answer.problem);
    } else {
      error.hidden = true;
      show(answer, bytes);
    }
    if (wanted) return send();
    const taken = performance.now() - asked;
    const ready = number > 1 ? `ready, recomputed in ${gmDuration(taken)}` : "ready";
    rest(answer.problem ? "stopped by an error" : ready, Boolean(answer.problem));
    const python = 1000 * answer.seconds;
    Object.assign(root.dataset, { shown: answer.place.join(","), latency: taken.toFixed(1), python: python.toFixed(1) });
  }

  function showProblem(problem) {
    const deepest = problem.trace[problem.trace.length - 1];
    error.replaceChildren(gmElement("strong", {}, problem.type), problem.message ? `: ${problem.message}` : "");
    if (deepest) error.append(gmElement("code", {}, deepest.line), gmElement("small", {}, deepest.where));
    if (problem.trace.length > 1) {
      const say = (step) => gmElement("li", {}, gmElement("code", {}, step.line), ` ${step.where}`);
      const steps = gmElement("ol", {}, ...problem.trace.slice(0, -1).map(say));
      error.append(gmElement("details", {}, gmElement("summary", {}, "how it came there"), steps));
    }
    if (head) error.append(gmElement("small", {}, "The picture is that of the last setting that worked."));
    error.hidden = false;
  }

  function show(newHead, bytes) {
    const share = head && frames() > 1 ? at / (frames() - 1) : 1; // the film opens on its end, and stays where it was
    head = newHead;
    view.load(head, bytes);
    stage.hidden = false;
    line.max = frames() - 1;
    line.disabled = button.disabled = frames() < 2;
    at = playing === null ? Math.round(share * (frames() - 1)) : share * (frames() - 1);
    caption.textContent = head.caption;
    spec.charts.forEach((chart, k) => charts[k].show(head.charts[chart.title] || [], String(head.place ?? place)));
    fit();
  }

  // ---- the page

  function fit() {
    if (!head) return;
    stage.style.maxWidth = `${view.natural}px`;
    stage.style.flexBasis = `${view.natural}px`;
    width = Math.round(Math.min(view.natural, stage.clientWidth));
    colours = gmColours(root);
    paint();
  }

  const sizes = new ResizeObserver(fit);
  sizes.observe(root);
  const forgetTheme = gmWatchTheme(() => requestAnimationFrame(fit));
  stop();
  if (film) show(film, gmBytes(film.payload));
  else request(true);
  return {
    receive,
    close() {
      playing = null;
      clearInterval(clock);
      sizes.disconnect();
      forgetTheme();
    },
  };
}

function gmWaiting(seconds) {
  if (seconds < 2) return "computing …";
  const doubt = seconds < 20 ? "" : " (is another cell running, or was the kernel restarted?)";
  return `computing … ${Math.floor(seconds)} s${doubt}`;
}

function gmDuration(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
