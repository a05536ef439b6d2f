// What a node says of its result stays on it. The text that comes while it runs does not: editors of today take it away
// when the run has ended, and of what stays, `ui.text`, they show nothing on other packs' nodes.
import { registerOnce } from "./once.js";

const SAID = "said";
const WHILE_IT_RUNS = "$$node-text-preview";

function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}

function addWidget(node) {
  const element = document.createElement("div");
  element.className = "stable-cascade-said";
  element.style.cssText = "overflow: auto; white-space: pre-wrap; user-select: text; font-size: 12px; color: var(--input-text);";
  const widget = node.addDOMWidget(SAID, "cascade_said", element, {
    serialize: false,
    getValue: () => element.textContent,
    setValue: (text) => (element.textContent = text),
    getMinHeight: () => 40,
  });
  widget.serialize = false; // options say whether a prompt has it, this whether a workflow has
  return widget;
}

function say(node, text) {
  const before = widgetOf(node, WHILE_IT_RUNS);
  if (before) node.removeWidget(before);
  (widgetOf(node, SAID) ?? addWidget(node)).value = text;
  node.setDirtyCanvas(true, true);
}

registerOnce({
  name: "StableCascade.Said",
  beforeRegisterNodeDef(nodeType, definition) {
    if (!definition.category?.startsWith("Stable Cascade")) return;
    const onExecuted = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.apply(this, arguments);
      const text = (output?.text ?? []).join("\n");
      if (text || widgetOf(this, SAID)) say(this, text);
    };
  },
});
