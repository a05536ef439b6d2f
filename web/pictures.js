// Built-in pictures in the Picture node. The editor shows a chosen file by asking the input folder for it, where they are
// not; it shows previews that a node has before that, so each built-in picture is given as one, from web/pictures.
import { app } from "../../scripts/app.js";

function addressOf(name) {
  const [, known] = /^(.+) \(built-in\)$/.exec(name) ?? [];
  return known && new URL(`./pictures/${known.replaceAll(" ", "_")}.png`, import.meta.url).href;
}

function show(node, combo) {
  if (!node.graph) return;
  const inside = node.graph.isRootGraph === false ? `${node.graph.id}:` : ""; // of a subgraph
  const key = `${inside}${node.id}`;
  const address = addressOf(`${combo.value}`);
  if (address) app.nodePreviewImages[key] = [address];
  else delete app.nodePreviewImages[key];
}

function after(object, method, action) {
  const original = object[method];
  object[method] = function () {
    const result = original?.apply(this, arguments);
    action();
    return result;
  };
}

app.registerExtension({
  name: "StableCascade.Pictures",
  nodeCreated(node) {
    const combo = node.widgets?.find((widget) => widget.name === "image");
    if (node.comfyClass !== "CascadePicture" || !combo) return;
    after(node, "onAdded", () => show(node, combo));
    after(node, "onConfigure", () => show(node, combo)); // opened from a file
    after(combo, "callback", () => show(node, combo)); // chosen by the person
  },
});
