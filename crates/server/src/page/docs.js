// A viewer of /openapi.json: every route with its parameters, body and answers. Text nodes only.
"use strict";

function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

const nameOf = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.oneOf) return schema.oneOf.map(nameOf).join(" or ");
  if (schema.type === "array") return `list of ${nameOf(schema.items)}`;
  return [schema.type].flat().filter(Boolean).join(" or ") + (schema.enum ? `: ${schema.enum.join(", ")}` : "");
};

function fields(schema, document_) {
  const named = schema?.$ref ? document_.components.schemas[schema.$ref.split("/").pop()] : schema;
  const properties = Object.entries(named?.properties ?? {});
  if (!properties.length) return null;
  return el("table", {}, el("tbody", {}, ...properties.map(([name, property]) => el("tr", {},
    el("th", { scope: "row" }, name, (named.required ?? []).includes(name) ? " *" : ""),
    el("td", {}, nameOf(property)), el("td", {}, property.description ?? "")))));
}

function operation(path, method, described, document_) {
  const parts = [el("p", {}, described.description ?? "")];
  if (described.parameters?.length) {
    parts.push(el("h3", {}, "Parameters"), el("table", {}, el("tbody", {}, ...described.parameters.map((parameter) => el("tr", {},
      el("th", { scope: "row" }, parameter.name, parameter.required ? " *" : ""), el("td", {}, parameter.in),
      el("td", {}, nameOf(parameter.schema)), el("td", {}, parameter.description ?? ""))))));
  }
  for (const [kind, content] of Object.entries(described.requestBody?.content ?? {})) {
    parts.push(el("h3", {}, `Body, ${kind}: ${nameOf(content.schema)}`), fields(content.schema, document_));
  }
  for (const [status, response] of Object.entries(described.responses)) {
    for (const [kind, content] of Object.entries(response.content ?? {})) {
      parts.push(el("h3", {}, `${status}, ${kind}: ${nameOf(content.schema)}`), el("p", { class: "hint" }, response.description ?? ""));
      if (status.startsWith("2")) parts.push(fields(content.schema, document_));
    }
  }
  return el("details", { class: "panel" }, el("summary", {}, el("span", { class: "method" }, method.toUpperCase()), ` ${path} `, el("span", { class: "hint" }, described.summary ?? "")), ...parts.filter(Boolean));
}

fetch("/openapi.json").then((response) => response.json()).then((document_) => {
  document.getElementById("about").textContent = `${document_.info.description} (${document_.info.version})`;
  const routes = document.getElementById("routes");
  for (const { name, description } of document_.tags) {
    const section = el("section", {}, el("h2", {}, name), el("p", { class: "hint" }, description ?? ""));
    for (const [path, methods] of Object.entries(document_.paths)) {
      for (const [method, described] of Object.entries(methods)) {
        if (described.tags?.includes(name)) section.append(operation(path, method, described, document_));
      }
    }
    routes.append(section);
  }
});
