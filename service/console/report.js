// The training report in a frame where nothing can run. It is fetched here because a link could not carry the key.

import { api } from "./api.js";
import { el } from "./dom.js";

const place = document.getElementById("report");

try {
  const content = await api.document("report");
  const frame = el("iframe", { sandbox: "allow-same-origin", title: "Training report" });
  frame.src = URL.createObjectURL(new Blob([await content.arrayBuffer()], { type: "text/html;charset=utf-8" }));
  place.append(frame);
} catch (error) {
  place.append(el("p", { role: "alert", class: "notice" }, error.message));
}
