// The previews of Pick Pictures, in the node: a click on one adds its number to `picks`, or takes it away. Only public
// means of both editors: a widget of HTML, and the value of another widget.
import { api } from "../../scripts/api.js";
import { registerOnce } from "./once.js";

const NODE = "CascadePickLatents";
const SHOWN = "previews";

function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}

// As the node reads it; what it would refuse, this passes over.
function picked(text, count) {
  const numbers = [...Array(count).keys()].map((place) => place + 1);
  if (text.trim().toLowerCase() === "all") return new Set(numbers);
  const ranges = text.split(",").map((part) => part.match(/^\s*(\d+)(?:\s*-\s*(\d+))?\s*$/)).filter(Boolean);
  return new Set(numbers.filter((number) => ranges.some(([, from, to]) => +from <= number && number <= +(to ?? from))));
}

function mark(node) {
  const buttons = [...(widgetOf(node, SHOWN)?.element.children ?? [])];
  const chosen = picked(String(widgetOf(node, "picks").value), buttons.length);
  buttons.forEach((button, place) => {
    const on = chosen.has(place + 1);
    button.ariaPressed = String(on);
    button.style.outline = on ? "3px solid #4C86E8" : "none";
    button.style.opacity = on || !chosen.size ? "1" : "0.6";
  });
}

function toggle(node, number) {
  const picks = widgetOf(node, "picks");
  const chosen = picked(String(picks.value), widgetOf(node, SHOWN).element.children.length);
  if (!chosen.delete(number)) chosen.add(number);
  picks.value = [...chosen].sort((one, other) => one - other).join(", ");
  picks.callback?.(picks.value);
  mark(node);
  node.setDirtyCanvas(true, true);
}

function addWidget(node) {
  const element = document.createElement("div");
  element.className = "stable-cascade-previews";
  element.style.cssText =
    "display: grid; grid-template-columns: repeat(auto-fill, minmax(72px, 1fr)); gap: 6px; padding: 4px; overflow: auto;";
  const widget = node.addDOMWidget(SHOWN, "cascade_previews", element, { serialize: false, getMinHeight: () => 160 });
  widget.serialize = false; // options say whether a prompt has it, this whether a workflow has
  const picks = widgetOf(node, "picks");
  const callback = picks.callback;
  picks.callback = function () {
    callback?.apply(this, arguments);
    mark(node); // what was typed
  };
  return widget;
}

function show(node, previews) {
  const widget = widgetOf(node, SHOWN) ?? addWidget(node);
  widget.element.replaceChildren(
    ...previews.map((preview, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = String(place + 1);
      button.style.cssText =
        "position: relative; padding: 0; border: 0; border-radius: 4px; overflow: hidden; cursor: pointer; aspect-ratio: 1;";
      const picture = document.createElement("img");
      picture.src = api.apiURL(`/view?${new URLSearchParams(preview)}`);
      picture.alt = button.title;
      picture.style.cssText = "width: 100%; height: 100%; object-fit: contain; display: block;";
      const number = document.createElement("span");
      number.textContent = button.title;
      number.style.cssText = "position: absolute; left: 3px; top: 2px; font: bold 12px sans-serif; color: #fff; text-shadow: 0 0 3px #000;";
      button.append(picture, number);
      button.addEventListener("click", () => toggle(node, place + 1));
      return button;
    }),
  );
  mark(node);
}

registerOnce({
  name: "StableCascade.Picks",
  beforeRegisterNodeDef(nodeType, definition) {
    if (definition.name !== NODE) return;
    const onExecuted = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.apply(this, arguments);
      if (output?.previews?.length) show(this, output.previews);
    };
  },
});
