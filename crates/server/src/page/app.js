// The page's script: asks the API that everybody asks, and shows what comes back.
//
// Whatever comes from a filing, a model or a reader reaches the document as text nodes only; nothing here builds
// markup from a string.
"use strict";

const $ = (id) => document.getElementById(id);

/** An element with properties and children; strings become text nodes. */
function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && typeof node[key] !== "object") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// ---- talking to the server ---------------------------------------------------------------------

class ApiError extends Error {
  constructor(status, body) {
    super(body?.message ?? `the server answered ${status}`);
    this.status = status;
    this.requestId = body?.request_id;
  }
}

function headers(extra = {}) {
  const key = sessionStorage.getItem("footnote-key");
  return key ? { ...extra, authorization: `Bearer ${key}` } : extra;
}

async function call(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers(options.headers) });
  if (response.ok) return response;
  let body = null;
  try { body = await response.json(); } catch { /* no JSON: the status says it */ }
  if (response.status === 401) $("key-form").hidden = false;
  throw new ApiError(response.status, body);
}

const getJson = async (path) => (await call(path)).json();
const postJson = async (path, value) => (await call(path, {
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value),
})).json();

/** The events of a stream, as {id, event, data}. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const event = { data: "" };
      for (const line of text.slice(0, end).split("\n")) {
        const colon = line.indexOf(":");
        if (colon <= 0) continue;
        const field = line.slice(0, colon);
        const content = line.slice(colon + 1).replace(/^ /, "");
        event[field] = field === "data" ? event.data + content : content;
      }
      text = text.slice(end + 2);
      if (event.event) yield { ...event, data: JSON.parse(event.data) };
    }
  }
}

function complain(error) {
  if (error.name === "AbortError") return;
  const id = error.requestId ? ` (request ${error.requestId})` : "";
  $("alert").textContent = `${error.message}${id}`;
  $("alert").hidden = false;
}

function quietly(work) {
  return async (event) => {
    event?.preventDefault?.();
    $("alert").hidden = true;
    try { await work(event); } catch (error) { complain(error); }
  };
}

// ---- pages -------------------------------------------------------------------------------------

const PAGES = {
  ask: async () => loadCompanies(),
  search: async () => loadCompanies(),
  history: async () => loadHistory(true),
  evaluations: async () => loadEvaluations(),
  jobs: async () => loadJobs(),
};
let jobTimer = null;

function show() {
  const [name, argument] = location.hash.slice(1).split("/");
  const page = name in PAGES ? name : "ask";
  for (const other of Object.keys(PAGES)) $(`page-${other}`).hidden = other !== page;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${page}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  clearInterval(jobTimer);
  if (!argument) $("source").hidden = true;
  $("alert").hidden = true;
  quietly(PAGES[page])();
  if (page === "ask" && argument) quietly(() => showTrace(argument))();
}

let companiesLoaded = false;
async function loadCompanies() {
  if (companiesLoaded) return;
  const companies = await getJson("/v1/companies");
  const tickers = new Map();
  for (const { ticker, company } of companies) if (ticker) tickers.set(ticker, company ?? "");
  $("tickers").replaceChildren(...[...tickers].map(([ticker, company]) => el("option", { value: ticker, label: company })));
  companiesLoaded = true;
}

function scopeOf(ticker, form, year) {
  const scope = {};
  if (ticker.value.trim()) scope.tickers = [ticker.value.trim().toUpperCase()];
  if (form.value) scope.forms = [form.value];
  if (year.value.trim()) scope.years = [Number(year.value.trim())];
  return scope;
}

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
const when = (ms) => new Date(ms).toLocaleString();

// ---- asking ------------------------------------------------------------------------------------

let asking = null;
let answerId = null;

/** Ends the answer here and there: without the second the server would keep it for a while, to be resumed. */
async function stop() {
  asking?.abort();
  if (answerId) await call(`/v1/answers/${encodeURIComponent(answerId)}/cancel`, { method: "POST" });
}

function stepLine(event, data) {
  const list = (items, none) => (items?.length ? items.join(", ") : none);
  switch (event) {
    case "accepted": return data.waiting ? ["waiting", `${data.waiting} questions before this one`] : ["accepted", ""];
    case "scope": return ["scope", `${list(data.companies, "any company")}; ${list(data.periods, "any period")}; ${list(data.forms, "any form")}; ${data.filings} filings`];
    case "doc_types": return ["kinds of document", `${data.ranking.order.join(" › ")} (by ${data.ranking.ranker})`];
    case "passages": {
      const first = data.passages[0];
      return ["passages", `${data.passages.length}${first ? `, first ${first.accession} ${first.section_path.join(" › ")}` : ""}`];
    }
    case "plan": return ["formula", `${data.name} = ${data.formula}`];
    case "figure": return ["figure", `${data.input.item} ${data.input.period}: ${data.input.written} (${data.input.label})`];
    case "evidence": return ["evidence", `${data.lines.length} lines`];
    case "removed": return ["removed", `${data.text}: ${data.reason}`];
    default: return null;
  }
}

function showRanking(ranking) {
  const kinds = ["DEF14A", "10-K", "10-Q", "8-K", "Earnings"];
  const rows = ranking.order.map((kind) => el("tr", {},
    el("th", { scope: "row" }, kind),
    el("td", { className: "number" }, ranking.scores[kinds.indexOf(kind)].toFixed(3))));
  $("ranking").querySelector("tbody").replaceChildren(...rows);
  $("ranking").hidden = false;
}

async function ask() {
  asking?.abort();
  answerId = null;
  asking = new AbortController();
  const mine = asking;
  $("steps").replaceChildren();
  $("answer").hidden = true;
  $("ranking").hidden = true;
  $("run").hidden = false;
  $("stop").hidden = false;
  $("ask").disabled = true;
  const draft = el("li", { className: "draft" });
  const body = JSON.stringify({
    question: $("question").value,
    scope: scopeOf($("scope-ticker"), $("scope-form"), $("scope-year")),
    resumable_s: 30,
  });
  let last = null;
  try {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const extra = { "content-type": "application/json", accept: "text/event-stream" };
        if (last) extra["last-event-id"] = last;
        const response = await call("/v1/answers", { method: "POST", signal: mine.signal, headers: extra, body });
        for await (const { id, event, data } of events(response)) {
          last = id;
          if (event === "answer") { draft.remove(); showAnswer(data); return; }
          if (event === "error") throw new ApiError(0, data);
          if (event === "accepted") answerId = data.id;
          if (event === "doc_types") showRanking(data.ranking);
          if (event === "token") {
            if (!draft.isConnected) $("steps").append(draft);
            draft.textContent += data.text;
            continue;
          }
          const line = stepLine(event, data);
          if (line) $("steps").append(el("li", {}, el("b", {}, line[0]), ` ${line[1]}`));
        }
        throw new TypeError("the connection was cut");
      } catch (error) {
        // A cut connection is taken up again where it broke; everything else is an answer.
        if (!(error instanceof TypeError) || !last || attempt >= 5) throw error;
        await new Promise((resolve) => setTimeout(resolve, 500 * (attempt + 1)));
      }
    }
  } finally {
    if (asking === mine) {
      $("stop").hidden = true;
      $("ask").disabled = false;
    }
  }
}

/** The answer's text with its [n] as buttons. */
function marked(text, footnotes) {
  const parts = text.split(/(\[\d+\])/);
  return parts.map((part) => {
    const number = /^\[(\d+)\]$/.exec(part)?.[1];
    const footnote = number && footnotes.find(({ n }) => n === Number(number));
    if (!footnote) return part;
    return el("sup", {}, el("button", {
      type: "button", title: footnote.quote, "aria-label": `Footnote ${number}`, onclick: quietly(() => openSource(footnote)),
    }, part));
  });
}

function placeOf(footnote) {
  const place = [footnote.company ?? footnote.accession, footnote.form];
  if (footnote.period) place.push(footnote.period);
  place.push(...footnote.section_path);
  if (footnote.page !== null && footnote.page !== undefined) place.push(`page ${footnote.page}`);
  return place.join(", ");
}

function showAnswer(answer) {
  const parts = [el("h2", {}, "Answer"), el("p", { className: "answer-text" }, ...marked(answer.text, answer.footnotes))];
  if (!answer.trace_kept && answer.trace_kept !== undefined) {
    parts.push(el("p", { className: "error" }, "The database did not answer, so this answer is not kept."));
  }
  for (const statement of answer.statements.filter(({ verified }) => !verified)) {
    parts.push(el("p", { className: "unverified" }, el("strong", {}, "Unverified: "), `${statement.text} (${statement.doubt ?? "it could not be checked"})`));
  }
  if (answer.not_found) {
    const searched = answer.not_found;
    parts.push(el("p", { className: "hint" }, `Searched ${searched.filings} filings and read ${searched.passages} passages.`));
  }
  if (answer.calculation) {
    const { name, formula, steps } = answer.calculation;
    parts.push(el("h3", {}, "Working"), el("pre", {}, [`${name} = ${formula}`, ...steps.map((step) => `  ${step.name} = ${step.expression} = ${step.shown}`)].join("\n")));
  }
  if (answer.footnotes.length) {
    parts.push(el("h3", {}, "Footnotes"), el("ol", { className: "footnotes" }, ...answer.footnotes.map((footnote) => el("li", { value: footnote.n },
      el("button", { type: "button", className: "footnote", onclick: quietly(() => openSource(footnote)) }, placeOf(footnote)),
      " ",
      el("span", { className: footnote.verified ? "checked" : "doubted" }, footnote.verified ? "✓ checked" : "not verified"),
      el("blockquote", {}, footnote.quote)))));
  }
  const { trace } = answer;
  parts.push(el("p", { className: "hint" }, `${seconds(trace.total_ms)}, ${trace.tokens_in} tokens read and ${trace.tokens_out} written by ${trace.model}`));
  parts.push(feedbackForm(answer.id));
  $("answer").replaceChildren(...parts);
  $("answer").hidden = false;
}

function feedbackForm(id) {
  const said = el("p", { className: "hint", role: "status" });
  const correction = el("input", { placeholder: "what it should have been", "aria-label": "Correction", maxlength: "10000" });
  const passage = el("input", { placeholder: "a better passage's id", "aria-label": "Better passage", maxlength: "256" });
  const give = (verdict) => quietly(async () => {
    const body = { trace_id: id };
    if (verdict) body.verdict = verdict;
    if (correction.value.trim()) body.correction = correction.value.trim();
    if (passage.value.trim()) body.better_passage = passage.value.trim();
    await postJson("/v1/feedback", body);
    said.textContent = "Thank you; it is kept with this answer.";
  });
  return el("form", { className: "panel feedback", onsubmit: give(null) },
    el("strong", {}, "Is this right? "),
    el("button", { type: "button", className: "right", onclick: give("right") }, "Right"), " ",
    el("button", { type: "button", className: "wrong", onclick: give("wrong") }, "Wrong"), " ",
    correction, " ", passage, " ", el("button", { type: "submit" }, "Send"), said);
}

// ---- the source --------------------------------------------------------------------------------

const AROUND = 4000;
let opener = null;

/** Shows the filing around a footnote's or a passage's span; spans count bytes, so the text is cut as bytes. */
async function openSource(footnote) {
  opener = document.activeElement;
  const name = encodeURIComponent(footnote.accession);
  const filing = await getJson(`/v1/filings/${name}`);
  const start = Math.max(0, footnote.span.start - AROUND);
  const end = Math.min(filing.text_bytes, footnote.span.end + AROUND);
  const part = await getJson(`/v1/filings/${name}/text?start=${start}&end=${end}`);
  const bytes = new TextEncoder().encode(part.text);
  const decode = (from, to) => new TextDecoder().decode(bytes.slice(from, to));
  const from = footnote.span.start - part.span.start;
  const to = footnote.span.end - part.span.start;
  const highlighted = el("mark", {}, decode(from, to));
  $("source-text").replaceChildren(part.span.start > 0 ? "… " : "", decode(0, from), highlighted, decode(to), part.span.end < filing.text_bytes ? " …" : "");
  $("source-place").textContent = placeOf(footnote);
  const links = [`bytes ${footnote.span.start} to ${footnote.span.end} of ${footnote.accession}`];
  if (filing.source_url) links.push(" · ", el("a", { href: filing.source_url, rel: "noopener noreferrer", target: "_blank" }, "the filing at SEC"));
  $("source-links").replaceChildren(...links);
  $("source").hidden = false;
  $("source-title").focus({ preventScroll: true });
  // Only the panel moves: the reader's place on the page is the reader's.
  const panel = $("source");
  panel.scrollTop = highlighted.getBoundingClientRect().top - panel.getBoundingClientRect().top + panel.scrollTop - panel.clientHeight / 2;
}

function closeSource() {
  $("source").hidden = true;
  opener?.focus?.();
}

// ---- search, history ---------------------------------------------------------------------------

async function search() {
  const { hits } = await postJson("/v1/search", {
    query: $("query").value, scope: scopeOf($("search-ticker"), $("search-form-kind"), $("search-year")), k: 20,
  });
  const line = (hit) => {
    const place = { ...hit.meta, period: hit.meta.fiscal_period, section_path: hit.passage.section_path, page: hit.passage.page, span: hit.passage.span };
    const text = hit.passage.text;
    return el("li", {},
      el("button", { type: "button", className: "hit", onclick: quietly(() => openSource(place)) }, placeOf(place)),
      " ", el("span", { className: "hint" }, hit.score.toFixed(2), " · ", hit.passage.id),
      el("blockquote", {}, text.length > 600 ? `${text.slice(0, 600)}…` : text));
  };
  $("hits").replaceChildren(...(hits.length ? hits.map(line) : [el("p", {}, "Nothing found.")]));
}

let historyCursor = null;
async function loadHistory(first) {
  const cursor = first || !historyCursor ? "" : `&cursor=${encodeURIComponent(historyCursor)}`;
  const page = await getJson(`/v1/traces?limit=30${cursor}`);
  historyCursor = page.next_cursor;
  const lines = page.traces.map((trace) => el("li", {},
    el("a", { href: `#ask/${trace.id}` }, trace.question),
    el("div", {}, trace.answer),
    el("span", { className: "hint" }, `${when(trace.created_ms)}, ${seconds(trace.total_ms)}, ${trace.origin}`)));
  if (first) $("history").replaceChildren();
  $("history").append(...(lines.length || !first ? lines : [el("li", {}, "Nothing was asked yet.")]));
  $("history-more").hidden = !historyCursor;
}

async function showTrace(id) {
  const trace = await getJson(`/v1/traces/${encodeURIComponent(id)}`);
  $("question").value = trace.question;
  $("run").hidden = false;
  $("ranking").hidden = true;
  $("steps").replaceChildren();
  for (const event of trace.events) {
    if (event.event === "doc_types") showRanking(event.ranking);
    const line = stepLine(event.event, event);
    if (line) $("steps").append(el("li", {}, el("b", {}, line[0]), ` ${line[1]}`));
  }
  showAnswer({ ...trace.answer, id: trace.id });
}

// ---- jobs --------------------------------------------------------------------------------------

async function act(job, verb) {
  await postJson(`/v1/jobs/${job.id}/${verb}`, {});
  await refreshJobs();
}

async function fetchFile(job, name) {
  // With a key the browser cannot fetch it by itself.
  const blob = await (await call(`/v1/jobs/${job.id}/files/${encodeURIComponent(name)}`)).blob();
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function jobLine(job) {
  const parts = [el("strong", {}, job.kind), job.result?.name ? ` ${job.result.name}` : "", ` ${job.state}`, job.state === "running" && job.stage ? `, ${job.stage}` : ""];
  if (job.queue_position !== null) parts.push(`, ${job.queue_position} before it`);
  if (job.state === "running") {
    parts.push(" ", el("progress", job.total ? { max: job.total, value: job.done } : {}), ` ${job.done}${job.total ? ` of ${job.total}` : ""}`);
    if (job.time_left_ms !== null) parts.push(`, about ${seconds(job.time_left_ms)} left`);
  }
  if (job.state === "running" || job.state === "waiting") {
    parts.push(" ", el("button", { type: "button", className: "cancel", onclick: quietly(() => act(job, "cancel")) }, "Cancel"));
  }
  if (job.state === "dead" || job.state === "cancelled") {
    parts.push(" ", el("button", { type: "button", onclick: quietly(() => act(job, "retry")) }, "Try again"));
  }
  const below = [];
  if (job.error) below.push(el("div", { className: "doubted" }, job.error));
  if (job.kind === "import" && job.result) {
    const { added, replaced, unchanged, left_out_count: leftOut, left_out: names } = job.result;
    below.push(el("div", {}, `${added} added, ${replaced} replaced, ${unchanged} unchanged, ${leftOut} left out`));
    for (const name of names.slice(0, 10)) below.push(el("div", { className: "doubted" }, name));
  }
  for (const name of job.result?.files ?? []) {
    below.push(el("button", { type: "button", onclick: quietly(() => fetchFile(job, name)) }, name), " ");
  }
  return el("li", { "data-job": job.id }, ...parts, el("div", { className: "hint" }, `${when(job.created_ms)}, ${job.id}, try ${job.attempts} of ${job.attempts_max}`), ...below);
}

async function refreshJobs() {
  const { jobs } = await getJson("/v1/jobs?limit=50");
  $("jobs").replaceChildren(...(jobs.length ? jobs.map(jobLine) : [el("li", {}, "No job was started yet.")]));
  return jobs;
}

async function loadJobs() {
  await refreshJobs();
  jobTimer = setInterval(() => {
    // What has the focus must not be replaced under the reader's fingers.
    if (document.hidden || $("jobs").contains(document.activeElement)) return;
    refreshJobs().catch(complain);
  }, 1000);
}

async function upload() {
  const data = new FormData();
  for (const file of $("import-files").files) data.append("file", file, file.name.replace(/[^A-Za-z0-9._-]/g, "_"));
  await call("/v1/imports", { method: "POST", body: data });
  companiesLoaded = false;
  $("import-files").value = "";
  await refreshJobs();
}

// ---- evaluations -------------------------------------------------------------------------------

let evaluations = [];

async function loadEvaluations() {
  const { jobs } = await getJson("/v1/jobs?limit=200");
  evaluations = jobs.filter(({ kind, state }) => kind === "evaluation" && state === "done");
  const options = () => evaluations.map((job) => el("option", { value: job.id }, `${job.result.name} (${when(job.created_ms)})`));
  const [a, b] = [$("run-a"), $("run-b")];
  const before = [a.value, b.value];
  a.replaceChildren(...options());
  b.replaceChildren(el("option", { value: "" }, "none"), ...options());
  if (before[0] && evaluations.some(({ id }) => id === before[0])) a.value = before[0];
  if (before[1] && evaluations.some(({ id }) => id === before[1])) b.value = before[1];
  showRuns();
}

function showRuns() {
  const chosen = [$("run-a").value, $("run-b").value].filter(Boolean);
  const runs = chosen.map((id) => evaluations.find((job) => job.id === id)).filter(Boolean);
  $("runs").replaceChildren(...(runs.length ? runs.map(runShown) : [el("p", {}, "No evaluation has ended yet.")]));
}

/** What a task is judged by first. */
const LEADING = { "doc-types": "ndcg@5", passages: "ndcg@5", pages: "recall@5", answers: "strict" };

function runShown(job) {
  const { name, task, questions, cells } = job.result;
  const metrics = [...new Set(cells.flatMap(({ report }) => Object.keys(report.metrics)))];
  const leading = metrics.includes(LEADING[task]) ? LEADING[task] : metrics[0];
  metrics.sort((a, b) => (b === leading) - (a === leading) || a.localeCompare(b));
  const value = (interval) => (interval ? `${interval.mean.toFixed(3)} [${interval.ci95[0].toFixed(3)}, ${interval.ci95[1].toFixed(3)}]` : "–");
  const table = el("table", {},
    el("caption", {}, `${task}, ${questions} questions, means with 95 % intervals`),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Metric"), ...cells.map(({ label }) => el("th", { scope: "col" }, label)))),
    el("tbody", {}, ...metrics.map((metric) => el("tr", {}, el("th", { scope: "row" }, metric), ...cells.map(({ report }) => el("td", {}, value(report.metrics[metric])))))));
  return el("div", {}, el("h2", {}, name), plot(leading, cells), el("div", { className: "wide", tabIndex: 0 }, table));
}

/** Dots with whiskers on an axis from 0 to 1. */
function plot(metric, cells) {
  const svg = (name, attributes, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, content] of Object.entries(attributes)) node.setAttribute(key, content);
    node.append(...children);
    return node;
  };
  const [left, width, row] = [150, 300, 24];
  const x = (share) => left + width * Math.min(1, Math.max(0, share));
  const height = row * cells.length + 30;
  const parts = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => [
    svg("line", { class: "axis", x1: x(share), x2: x(share), y1: 4, y2: height - 22 }),
    svg("text", { x: x(share), y: height - 6, "text-anchor": "middle" }, share.toString()),
  ]);
  const spoken = [];
  cells.forEach(({ label, report }, index) => {
    const interval = report.metrics[metric];
    if (!interval) return;
    const y = row * index + 16;
    const [low, high] = interval.ci95;
    spoken.push(`${label} ${interval.mean.toFixed(3)}, ${low.toFixed(3)} to ${high.toFixed(3)}`);
    parts.push(
      svg("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, label),
      svg("line", { class: "whisker", x1: x(low), x2: x(high), y1: y, y2: y }),
      svg("circle", { class: "dot", cx: x(interval.mean), cy: y, r: 4 }));
  });
  return el("figure", {}, el("figcaption", {}, metric), svg("svg", { viewBox: `0 0 ${left + width + 20} ${height}`, role: "img", "aria-label": `${metric}: ${spoken.join("; ")}` }, ...parts));
}

async function evaluate() {
  const list = (input) => input.value.split(",").map((name) => name.trim()).filter(Boolean);
  const file = $("evaluation-file").files[0];
  if (!file) throw new Error("choose a dataset first");
  const lines = (await file.text()).split("\n").filter((line) => line.trim());
  await postJson("/v1/evaluations", {
    name: $("evaluation-name").value, task: $("evaluation-task").value, records: lines.map((line) => JSON.parse(line)),
    rankers: list($("evaluation-rankers")), models: list($("evaluation-models")),
  });
  location.hash = "#jobs";
}

// ---- beginning ---------------------------------------------------------------------------------

$("ask-form").addEventListener("submit", quietly(ask));
$("stop").addEventListener("click", quietly(stop));
$("search-form").addEventListener("submit", quietly(search));
$("history-more").addEventListener("click", quietly(() => loadHistory(false)));
$("import-form").addEventListener("submit", quietly(upload));
$("evaluation-form").addEventListener("submit", quietly(evaluate));
$("run-a").addEventListener("change", showRuns);
$("run-b").addEventListener("change", showRuns);
$("source-close").addEventListener("click", closeSource);
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("footnote-key", $("key").value.trim());
  $("key-form").hidden = true;
  show();
});
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && document.activeElement === $("question")) $("ask-form").requestSubmit();
  else if (event.key === "Escape" && !$("source").hidden) closeSource();
  else if (event.key === "/" && !typing) {
    event.preventDefault();
    location.hash = "#ask";
    $("question").focus();
  }
});
window.addEventListener("hashchange", show);
show();
