// What the labs share on the page: elements, one row for each setting, keys that stay in the lab, colours of the theme.
function gmElement(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function gmRoot(root, alt, name) {
  root.replaceChildren();
  root.classList.add("gm-lab", name);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", alt);
  root.dataset.lmSuppressShortcuts = "true"; // the keys belong to the lab, not to the notebook's shortcuts,
  root.addEventListener("keydown", (event) => event.stopPropagation()); // nor to its cells
}

// A setting: a slider over values, a switch, or a list. `changed(at)` is told the position of the value that was chosen.
function gmControl(control, start, changed) {
  const { values, kind = "slider" } = control;
  const name = gmElement("span", { className: "gm-name" }, control.name);
  const value = gmElement("span", { className: "gm-value", ariaHidden: "true" }); // the input says it
  const input = GM_INPUTS[kind](values);
  input.setAttribute("aria-label", control.name); // the name alone: the row also holds the value
  const set = (at) => {
    if (kind === "switch") input.checked = at === 1;
    else input.value = at;
    if (kind === "slider") input.setAttribute("aria-valuetext", values[at]);
    value.textContent = kind === "list" ? "" : values[at];
  };
  input.addEventListener(kind === "slider" ? "input" : "change", () => {
    const at = kind === "switch" ? Number(input.checked) : Number(input.value);
    set(at);
    changed(at);
  });
  set(start);
  value.style.setProperty("--gm-longest", `${Math.max(...values.map((v) => v.length))}ch`);
  return { row: gmElement("label", { className: `gm-control gm-${kind}` }, name, input, value), input, set };
}

const GM_INPUTS = {
  slider: (values) => gmElement("input", { type: "range", min: 0, max: values.length - 1, step: 1 }),
  switch: () => gmElement("input", { type: "checkbox", role: "switch" }),
  list: (values) => gmElement("select", {}, ...values.map((v, k) => gmElement("option", { value: k }, v))),
};

function gmPlayButton(button, playing, what) {
  button.textContent = playing ? "❚❚ pause" : "▶ play";
  button.setAttribute("aria-label", playing ? "pause" : `play ${what}`);
}

// The colours of the theme as the canvas wants them; `changed` is called when the theme does. Returns how to stop.
function gmColours(root) {
  const style = getComputedStyle(root);
  const get = (name) => style.getPropertyValue(`--gm-${name}`).trim() || "#888";
  return Object.fromEntries(["ink", "faint", "line", "back", "model", "tint"].map((name) => [name, get(name)]));
}

function gmWatchTheme(changed) {
  const media = matchMedia("(prefers-color-scheme: dark)");
  const observer = new MutationObserver(changed);
  observer.observe(document.body, { attributes: true });
  media.addEventListener("change", changed);
  return () => {
    observer.disconnect();
    media.removeEventListener("change", changed);
  };
}

function gmBytes(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let k = 0; k < raw.length; k++) bytes[k] = raw.charCodeAt(k);
  return bytes;
}

// A canvas as sharp as the screen.
function gmResize(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

// The bytes of a message, in a buffer of their own: numbers of two bytes need an even start.
function gmCopy(view) {
  return view ? new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)) : new Uint8Array();
}

// A film in a saved page is unpacked when somebody comes to see it.
function gmWhenSeen(root, mount) {
  const watch = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    mount();
  });
  watch.observe(root);
}
