// The three views. Each is made once; `load(head, bytes)` takes the frames of a setting, `paint(context, at, width,
// colours)` draws the moment `at` (2.5 is half way from frame 2 to frame 3), `size(width)` says how large it will be.
const GM_FONT = "system-ui, sans-serif";
const GM_MANY = 1000; // dots: more are drawn as squares, which look alike at that size and are drawn far quicker

const GM_VIEWS = {
  particles(view) {
    let frames, n, step, under, underInk, dot, dotKey;

    function shade(colours) {
      if (!view.under || underInk === colours.ink) return under;
      const [text, height, width] = view.under;
      const bytes = gmBytes(text);
      under = Object.assign(document.createElement("canvas"), { width, height });
      const context = under.getContext("2d");
      context.fillStyle = colours.ink;
      context.fillRect(0, 0, width, height);
      const image = context.getImageData(0, 0, width, height);
      for (let k = 0; k < bytes.length; k++) image.data[4 * k + 3] = 0.45 * bytes[k];
      context.putImageData(image, 0, 0);
      underInk = colours.ink;
      return under;
    }

    function sprite(radius, colour) {
      const ratio = window.devicePixelRatio || 1;
      const key = `${radius} ${colour} ${ratio}`;
      if (dotKey === key) return dot;
      const side = Math.ceil(2 * radius * ratio) + 2;
      dot = Object.assign(document.createElement("canvas"), { width: side, height: side });
      const context = dot.getContext("2d");
      context.fillStyle = colour;
      context.beginPath();
      context.arc(side / 2, side / 2, radius * ratio, 0, 7);
      context.fill();
      dotKey = key;
      return dot;
    }

    const coordinate = (k, i) => frames[k * 2 * n + i];
    const lost = (k, i) => coordinate(k, i) === -32768;

    function between(at, i) {
      const k = Math.min(Math.floor(at), Math.max(0, frames.length / (2 * n) - 2));
      const share = at - k;
      const a = coordinate(k, i);
      return share === 0 ? a : a + share * (coordinate(k + 1, i) - a);
    }

    return {
      words: "",
      load(head, bytes) {
        n = head.shape[1];
        step = head.step;
        frames = new Int16Array(bytes.buffer);
      },
      size: (width) => [width, width],
      natural: 420,
      paint(context, at, width, colours) {
        const centre = width / 2;
        const scale = (step * centre) / view.limit;
        context.clearRect(0, 0, width, width);
        if (view.under) {
          context.imageSmoothingEnabled = true;
          context.imageSmoothingQuality = "high";
          context.drawImage(shade(colours), 0, 0, width, width);
        }
        gmPlane(context, width, view.limit, colours);
        for (let back = Math.min(view.trails, Math.floor(at)); back >= 1; back--) {
          context.beginPath();
          const [from, to] = [Math.max(0, at - back), at - back + 1];
          for (let i = 0; i < 2 * n; i += 2) {
            if (lost(Math.floor(from), i) || lost(Math.ceil(to), i)) continue;
            context.moveTo(centre + between(from, i) * scale, centre - between(from, i + 1) * scale);
            context.lineTo(centre + between(to, i) * scale, centre - between(to, i + 1) * scale);
          }
          context.strokeStyle = colours.model;
          context.globalAlpha = 0.35 * (1 - (back - 1) / view.trails);
          context.lineWidth = 0.8;
          context.stroke();
        }
        const radius = n > 2000 ? 1.3 : n > 700 ? 1.7 : n > 100 ? 2.2 : 3.2;
        const image = sprite(radius, colours.model);
        const side = image.width / (window.devicePixelRatio || 1);
        context.globalAlpha = 0.65;
        context.fillStyle = colours.model;
        let outside = 0;
        for (let i = 0; i < 2 * n; i += 2) {
          if (lost(Math.floor(at), i) || lost(Math.ceil(at), i)) continue;
          const x = centre + between(at, i) * scale;
          const y = centre - between(at, i + 1) * scale;
          if (x < 0 || y < 0 || x > width || y > width) outside += 1;
          else if (n > GM_MANY) context.fillRect(x - radius * 0.9, y - radius * 0.9, radius * 1.8, radius * 1.8);
          else context.drawImage(image, x - side / 2, y - side / 2, side, side);
        }
        context.globalAlpha = 1;
        this.words = outside ? `${outside} of ${n} outside the frame` : "";
      },
    };
  },

  pictures(view) {
    let frames, shape, sheet, context2, image;
    const gap = 1;
    return {
      words: "",
      load(head, bytes) {
        frames = bytes;
        shape = head.shape;
        const [, n, h, w] = shape;
        const columns = Math.min(view.columns, n);
        this.width = columns * (w + gap) - gap;
        this.height = Math.ceil(n / columns) * (h + gap) - gap;
        this.natural = this.width * view.zoom;
        sheet = Object.assign(document.createElement("canvas"), { width: this.width, height: this.height });
        context2 = sheet.getContext("2d");
        image = context2.createImageData(this.width, this.height);
      },
      size(width) {
        return [width, (width * this.height) / this.width];
      },
      paint(context, at, width) {
        const [count, n, h, w, c] = shape;
        const columns = Math.min(view.columns, n);
        const here = Math.min(Math.floor(at), count - 1);
        const next = Math.min(here + 1, count - 1);
        const share = at - here;
        const [a, b] = [here * n * h * w * c, next * n * h * w * c];
        for (let k = 0, i = 0; k < n; k++) {
          const top = Math.floor(k / columns) * (h + gap);
          const left = (k % columns) * (w + gap);
          for (let y = 0; y < h; y++) {
            for (let x = 0, o = 4 * ((top + y) * this.width + left); x < w; x++, o += 4, i += c) {
              for (let j = 0; j < 3; j++) {
                const from = frames[a + i + (c === 3 ? j : 0)];
                const to = frames[b + i + (c === 3 ? j : 0)];
                image.data[o + j] = from + share * (to - from);
              }
              image.data[o + 3] = 255;
            }
          }
        }
        context2.putImageData(image, 0, 0);
        const height = (width * this.height) / this.width;
        context.clearRect(0, 0, width, height);
        context.imageSmoothingEnabled = false;
        context.drawImage(sheet, 0, 0, width, height);
      },
    };
  },

  tokens(view) {
    let codes, head, columns, rows, widest;
    const ROW = 20;
    const CELL = 9;
    const font = '13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace';
    const probe = document.createElement("canvas").getContext("2d");
    return {
      words: "",
      load(newHead, bytes) {
        head = newHead;
        codes = head.wide ? new Uint16Array(bytes.buffer) : bytes;
        columns = Math.min(view.columns, head.shape[2]);
        rows = Math.ceil(head.shape[2] / columns);
        probe.font = font;
        widest = Math.max(CELL, ...head.symbols.map((s) => Math.ceil(probe.measureText(s.replace("\n", "⏎")).width) + 1));
        this.natural = columns * widest + 8;
        this.height = head.shape[1] * (rows * ROW + 8);
      },
      size(width) {
        return [width, this.height];
      },
      text(at) {
        const [, n, l] = head.shape;
        const lines = [];
        for (let k = 0; k < n; k++) {
          const start = (Math.floor(at) * n + k) * l;
          lines.push([...codes.subarray(start, start + l)].map((code) => head.symbols[code] || "_").join(""));
        }
        return lines.join("\n");
      },
      paint(context, at, width, colours) {
        const [, n, l] = head.shape;
        const here = Math.floor(at + 1e-6);
        const cell = Math.min(widest, (width - 8) / columns);
        context.clearRect(0, 0, width, this.height);
        context.font = font;
        context.textAlign = "center";
        context.textBaseline = "middle";
        let changed = 0;
        for (let k = 0; k < n; k++) {
          for (let i = 0; i < l; i++) {
            const place = (here * n + k) * l + i;
            const symbol = head.symbols[codes[place]];
            const fresh = here > 0 && codes[place] !== codes[place - n * l];
            const x = 4 + (i % columns) * cell;
            const y = 4 + k * (rows * ROW + 8) + Math.floor(i / columns) * ROW;
            changed += fresh;
            if (fresh && symbol) {
              context.fillStyle = colours.tint;
              context.fillRect(x, y + 1, cell, ROW - 2);
              context.fillStyle = colours.model; // a line too: the tint alone is too pale for some
              context.fillRect(x, y + ROW - 2, cell, 2);
            }
            if (!symbol) {
              context.fillStyle = colours.line;
              context.fillRect(x + 1, y + 3, cell - 2, ROW - 6);
            } else {
              const end = symbol === "\n";
              context.fillStyle = end && !fresh ? colours.faint : colours.ink;
              context.fillText(end ? "⏎" : symbol, x + cell / 2, y + ROW / 2);
            }
          }
        }
        this.words = here > 0 ? `${changed} of ${n * l} tokens new` : "";
      },
    };
  },
};

// The frame of the plane: its edge, its middle, and three numbers on two sides.
function gmPlane(context, width, limit, colours) {
  const end = limit >= 2 ? Math.floor(limit / 2) : limit / 2;
  const place = (v) => (width * (1 + v / limit)) / 2;
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.strokeRect(0.5, 0.5, width - 1, width - 1);
  context.fillStyle = colours.faint;
  context.font = `11px ${GM_FONT}`;
  for (const v of [-end, 0, end]) {
    const words = String(v).replace("-", "−");
    context.beginPath();
    context.moveTo(place(v), width);
    context.lineTo(place(v), width - 5);
    context.moveTo(0, place(-v));
    context.lineTo(5, place(-v));
    context.stroke();
    context.textAlign = "center";
    context.textBaseline = "bottom";
    context.fillText(words, place(v), width - 6);
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(words, 8, place(-v));
  }
}
