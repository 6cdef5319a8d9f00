// A linked chart, drawn as SVG: the lines of this setting, those of earlier settings faint behind them (a line of one
// point leaves its dot), and a marker that follows the frame where the x axis is "t".
const GM_SVG = "http://www.w3.org/2000/svg";
const GM_DASHES = ["", "6 3", "2 3", "8 3 2 3", "12 4", "4 2", "1 2"];
const GM_KEPT = 80; // settings that a chart remembers

function gmDraw(tag, attributes = {}, words) {
  const node = document.createElementNS(GM_SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (words !== undefined) node.textContent = words;
  return node;
}

const gmUp = (power) => [...String(power)].map((c) => ("-" === c ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)])).join("");

function gmNumber(v) {
  if (v === 0) return "0";
  const size = Math.abs(v);
  if (size >= 1e-3 && size < 1e4) return String(Number(v.toPrecision(3))).replace("-", "−");
  const power = Math.floor(Math.log10(size) + 1e-9);
  const front = Number((v / 10 ** power).toPrecision(2));
  return `${front === 1 ? "" : `${String(front).replace("-", "−")}·`}10${gmUp(power)}`;
}

function gmLinearTicks(lo, hi, most) {
  const rough = (hi - lo) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power;
  const ticks = [];
  const slack = 1e-9; // so that an end which is a tick is one
  for (let k = Math.ceil(lo / step - slack); k <= hi / step + slack; k++) ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

function gmLogTicks(lo, hi, most) {
  const among = (mantissas) => {
    const ticks = [];
    for (let k = Math.floor(Math.log10(lo)); k <= Math.ceil(Math.log10(hi)); k++)
      for (const m of mantissas) if (m * 10 ** k >= lo && m * 10 ** k <= hi) ticks.push(m * 10 ** k);
    return ticks;
  };
  for (const mantissas of [[1, 2, 5], [1, 3], [1]]) {
    const ticks = among(mantissas);
    if (ticks.length >= 3 && ticks.length <= most) return ticks;
  }
  const decades = among([1]);
  if (hi / lo < 30) return gmLinearTicks(lo, hi, most).filter((v) => v > 0);
  return decades.filter((_, k) => k % Math.ceil(decades.length / most) === 0);
}

// From numbers to pixels along one axis.
function gmScale(values, log, from, to, most) {
  const fit = values.filter((v) => v !== null && (!log || v > 0));
  let [lo, hi] = fit.length ? [Math.min(...fit), Math.max(...fit)] : [log ? 0.1 : 0, 1];
  if (log) {
    const room = Math.max(1.15, (2 / Math.min(2, hi / lo)) ** 0.5);
    [lo, hi] = [lo / room, hi * room];
  } else {
    const room = hi > lo ? 0.05 * (hi - lo) : Math.abs(hi) / 2 || 1;
    [lo, hi] = [lo >= 0 && lo < 0.4 * hi ? 0 : lo - room, hi + room];
  }
  const [a, b] = log ? [Math.log(lo), Math.log(hi)] : [lo, hi];
  const place = (v) => from + ((to - from) * ((log ? Math.log(v) : v) - a)) / (b - a);
  return { place, shows: (v) => v !== null && (!log || v > 0), ticks: (log ? gmLogTicks : gmLinearTicks)(lo, hi, most) };
}

const GM_MARKS = [
  (x, y, r) => gmDraw("circle", { cx: x, cy: y, r }),
  (x, y, r) => gmDraw("rect", { x: x - r * 0.9, y: y - r * 0.9, width: 1.8 * r, height: 1.8 * r }),
  (x, y, r) => gmDraw("path", { d: `M${x},${y - 1.2 * r}l${1.15 * r},${2 * r}h${-2.3 * r}z` }),
  (x, y, r) => gmDraw("path", { d: `M${x},${y - 1.3 * r}l${1.3 * r},${1.3 * r}l${-1.3 * r},${1.3 * r}L${x - 1.3 * r},${y}z` }),
];

function gmChart(spec) {
  const svg = gmDraw("svg", { role: "img" });
  const legend = gmElement("div", { className: "gm-legend", ariaHidden: "true" });
  const forget = gmElement("button", { type: "button", className: "gm-small", hidden: true }, "clear");
  forget.setAttribute("aria-label", `clear the earlier settings from ${spec.title}`);
  const head = gmElement("figcaption", {}, gmElement("strong", {}, spec.title), forget);
  const node = gmElement("figure", { className: "gm-chart" }, head, svg, legend);
  const order = []; // the names of the lines, as they first came: each keeps its dash and its mark
  let lines = [];
  let past = new Map();
  let now = "";
  let time = null;
  let moveMarker = () => {};
  forget.addEventListener("click", () => {
    past = new Map();
    draw();
  });

  function rank(name) {
    if (!order.includes(name)) order.push(name);
    return order.indexOf(name);
  }

  function path(line, x, y) {
    let d = "";
    let pen = "M";
    line.x.forEach((v, k) => {
      if (x.shows(v) && y.shows(line.y[k])) {
        d += `${pen}${x.place(v).toFixed(1)},${y.place(line.y[k]).toFixed(1)}`;
        pen = "L";
      } else pen = "M";
    });
    return d;
  }

  function drawLine(group, line, x, y, faint) {
    const k = rank(line.name);
    const colour = `var(--gm-${line.colour})`;
    const look = { stroke: colour, fill: "none", "stroke-width": faint ? 1.2 : 2, opacity: faint ? 0.35 : 1 };
    if (line.x.length > 1) {
      group.append(gmDraw("path", { d: path(line, x, y), "stroke-dasharray": GM_DASHES[k % GM_DASHES.length], ...look }));
      return;
    }
    if (!line.x.length || !x.shows(line.x[0]) || !y.shows(line.y[0])) return;
    const mark = GM_MARKS[k % GM_MARKS.length](x.place(line.x[0]), y.place(line.y[0]), faint ? 3.2 : 5.5);
    mark.setAttribute("fill", colour);
    mark.setAttribute("opacity", faint ? 0.5 : 1);
    if (!faint) mark.setAttribute("stroke", "var(--gm-back)");
    mark.append(gmDraw("title", {}, `${line.name}: ${gmNumber(line.x[0])}, ${gmNumber(line.y[0])}`));
    group.append(mark);
  }

  function draw() {
    const width = Math.max(240, Math.round(node.clientWidth) || 360);
    const height = 190;
    const [left, right, top, bottom] = [60, 10, 8, 38];
    const old = [...past.entries()].filter(([key]) => key !== now).map(([, value]) => value);
    // of whole curves only the last is kept behind: more would be a tangle
    const same = new Set(lines.map((line) => JSON.stringify(line)));
    const told = (line, k) => (line.x.length === 1 || k === old.length - 1) && !same.has(JSON.stringify(line));
    const behind = old.flatMap((take, k) => take.filter((line) => told(line, k)));
    const all = [...lines, ...behind];
    const x = gmScale(all.flatMap((l) => l.x), spec.log_x, left, width - right, Math.floor(width / 55));
    const y = gmScale(all.flatMap((l) => l.y), spec.log_y, height - bottom, top, 6);
    svg.replaceChildren();
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const grid = gmDraw("g", { class: "gm-grid" });
    for (const v of x.ticks) {
      grid.append(gmDraw("line", { x1: x.place(v), x2: x.place(v), y1: top, y2: height - bottom }));
      grid.append(gmDraw("text", { x: x.place(v), y: height - bottom + 14, "text-anchor": "middle" }, gmNumber(v)));
    }
    for (const v of y.ticks) {
      grid.append(gmDraw("line", { x1: left, x2: width - right, y1: y.place(v), y2: y.place(v) }));
      grid.append(gmDraw("text", { x: left - 6, y: y.place(v) + 4, "text-anchor": "end" }, gmNumber(v)));
    }
    const middle = (top + height - bottom) / 2;
    grid.append(gmDraw("text", { x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" }, spec.x));
    const turned = { x: 11, y: middle, "text-anchor": "middle", transform: `rotate(-90 11 ${middle})` };
    grid.append(gmDraw("text", turned, spec.y));
    const group = gmDraw("g");
    for (const line of behind) drawLine(group, line, x, y, true);
    for (const line of lines) drawLine(group, line, x, y, false);
    svg.append(grid, group, marker(x, y, top, height - bottom));
    forget.hidden = behind.length === 0;
    say(behind);
  }

  // The frame's time on the chart: a line, and a dot where it meets each curve.
  function marker(x, y, top, bottom) {
    const group = gmDraw("g", { class: "gm-marker" });
    if (spec.x !== "t") return group;
    const rule = gmDraw("line", { y1: top, y2: bottom });
    const curves = lines.filter((line) => line.x.length > 1);
    const dots = curves.map((line) => gmDraw("circle", { r: 4, fill: `var(--gm-${line.colour})` }));
    group.append(rule, ...dots);
    moveMarker = () => {
      group.style.display = time === null || !x.shows(time) ? "none" : "";
      if (time === null || !x.shows(time)) return;
      rule.setAttribute("x1", x.place(time));
      rule.setAttribute("x2", x.place(time));
      curves.forEach((line, k) => {
        const height = gmAt(line, time);
        dots[k].style.display = y.shows(height) ? "" : "none";
        if (!y.shows(height)) return;
        dots[k].setAttribute("cx", x.place(time));
        dots[k].setAttribute("cy", y.place(height));
      });
    };
    moveMarker();
    return group;
  }

  function say(behind) {
    const parts = lines.map((l) => {
      const end = l.x.length - 1;
      const point = (k) => `(${gmNumber(l.x[k])}, ${l.y[k] === null ? "not a number" : gmNumber(l.y[k])})`;
      return `${l.name} ${end > 0 ? `from ${point(0)} to ${point(end)}` : end === 0 ? `at ${point(0)}` : "without points"}`;
    });
    svg.setAttribute("aria-label", `${spec.title}: ${spec.y} against ${spec.x}. ${parts.join("; ")}.`);
    const named = [...new Map([...behind, ...lines].map((line) => [line.name, line])).values()];
    named.sort((a, b) => rank(a.name) - rank(b.name));
    legend.replaceChildren(
      ...named.map((line) => {
        const swatch = gmDraw("svg", { width: 26, height: 12 });
        const k = rank(line.name);
        const colour = `var(--gm-${line.colour})`;
        if (line.x.length > 1) {
          const look = { stroke: colour, "stroke-width": 2, "stroke-dasharray": GM_DASHES[k % GM_DASHES.length] };
          swatch.append(gmDraw("line", { x1: 0, x2: 26, y1: 6, y2: 6, ...look }));
        } else {
          const mark = GM_MARKS[k % GM_MARKS.length](13, 6, 4.5);
          mark.setAttribute("fill", colour);
          swatch.append(mark);
        }
        const faint = lines.every((other) => other.name !== line.name);
        return gmElement("span", { className: faint ? "gm-past" : "" }, swatch, line.name);
      }),
    );
  }

  new ResizeObserver(() => {
    if (node.clientWidth && node.clientWidth !== Number(svg.getAttribute("width"))) draw();
  }).observe(node);

  return {
    node,
    show(newLines, key) {
      if (lines.length) past.set(now, lines);
      past.delete(key);
      if (past.size > GM_KEPT) past.delete(past.keys().next().value);
      [lines, now] = [newLines, key];
      draw();
    },
    mark(newTime) {
      time = newTime;
      moveMarker();
    },
  };
}

// The height of a curve at x, by straight lines between its points; null outside.
function gmAt(line, x) {
  for (let k = 1; k < line.x.length; k++) {
    const [a, b] = [line.x[k - 1], line.x[k]];
    if (a === null || b === null || line.y[k - 1] === null || line.y[k] === null) continue;
    if ((a <= x && x <= b) || (b <= x && x <= a)) {
      return a === b ? line.y[k] : line.y[k - 1] + ((line.y[k] - line.y[k - 1]) * (x - a)) / (b - a);
    }
  }
  return null;
}
