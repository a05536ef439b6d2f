// Colours of our sockets and links. Each stands out by about 3:1 from dark and from light nodes alike, and is near that
// of its native kin where there is one (CLIP, CLIP_VISION, VAE, MODEL, CONTROL_NET).
import { app } from "../../scripts/app.js";
import { registerOnce } from "./once.js";

const COLOURS = {
  CASCADE_STAGE_C: "#9A7BE0",
  CASCADE_STAGE_B: "#4C86E8",
  CASCADE_STAGE_A: "#E2605F",
  CASCADE_TEXT_ENCODER: "#B48610",
  CASCADE_IMAGE_ENCODER: "#2E98A6",
  CASCADE_EFFNET: "#D9702F",
  CASCADE_PREVIEWER: "#D45FA0",
  CASCADE_CONTROLNET: "#2F9E6B",
  CASCADE_LORA: "#B05FD0",
  CASCADE_HINT: "#78962B",
  CASCADE_DATASET: "#948A7E",
};

const style = document.createElement("style");
// Nodes 2.0 looks here. From the page's element itself the editor takes away what its theme does not know, whenever one is
// loaded; what a theme does know stands there and wins.
const properties = Object.entries(COLOURS).map(([type, colour]) => `--color-datatype-${type}: ${colour};`);
style.textContent = `:root { ${properties.join(" ")} }`;

function keepOnCanvas() {
  // The canvas keeps one table for sockets and one for links. Whenever a theme is loaded, at start as well, the editor
  // writes "" there for each type that the theme does not know: that means ours, and a theme's own colour wins.
  const tables = [app.canvas.default_connection_color_byType, app.canvas.constructor.link_type_colors];
  for (const table of tables.filter(Boolean)) {
    for (const [type, colour] of Object.entries(COLOURS)) {
      let current = table[type] || colour;
      Object.defineProperty(table, type, {
        configurable: true,
        enumerable: true,
        get: () => current,
        set: (value) => (current = value || colour),
      });
    }
  }
}

registerOnce({ name: "StableCascade.Colours", init: () => document.head.append(style), setup: keepOnCanvas });
