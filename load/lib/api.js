// The requests of an applicant, and what their answers say.

import http from "k6/http";
import { campaign, method, timeout, url } from "./settings.js";
import { authorization } from "./token.js";

const address = `${url}/v1/campaigns/${encodeURIComponent(campaign)}`;

// A refusal is an answer, not a failure.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 304, 404, 409, 410, 429, 503));

/** Applies once. `params` are those of k6/http, such as a shorter timeout. */
export function apply(userId, params = {}) {
  const { method, url, body, params: all } = application(userId, params);
  return answer(http.request(method, url, body, all));
}

/** Applies `times` times at the same moment, like an applicant who clicks twice. */
export function applyAtOnce(userId, times) {
  return http.batch(Array(times).fill(application(userId))).map(answer);
}

/** Asks what became of an application. */
export function ask(userId) {
  return answer(http.request("GET", question(userId).url, null, question(userId).params));
}

/** Asks about many applicants at once; the answers are in the same order. */
export function askAll(userIds) {
  return http.batch(userIds.map(question)).map(answer);
}

/** Reads the state of the campaign. */
export function read() {
  return http.get(address, { timeout, tags: { name: "read" } });
}

/** What the header `Rushgate-Time` of a response says: the clock of Redis, in ms since 1970. */
export function time(response) {
  return Number(response.headers["Rushgate-Time"] || 0);
}

function application(userId, params = {}) {
  const headers = authorization(userId);
  const common = { timeout, tags: { name: "apply" }, ...params };
  if (method === "PUT") return { method, url: place(userId), body: null, params: { ...common, headers } };
  headers["content-type"] = "application/json";
  const body = JSON.stringify({ user_id: userId });
  return { method, url: `${address}/applications`, body, params: { ...common, headers } };
}

function question(userId) {
  return {
    method: "GET",
    url: place(userId),
    params: { timeout, tags: { name: "ask" }, headers: authorization(userId) },
  };
}

function place(userId) {
  return `${address}/applications/${encodeURIComponent(userId)}`;
}

function answer(response) {
  const { headers, status } = response;
  const header = (name) => Number(headers[name] || 0);
  return {
    status,
    response,
    // k6 has no answer: a timeout, or a broken connection.
    isLost: status === 0,
    // The application was not decided.
    isRejected: status === 429 || status === 503,
    // The answer to an application has it in a header, the answer to a question in its body.
    decision: headers["Rushgate-Decision"] || (status === 200 && response.json("decision")) || "",
    serial: header("Rushgate-Serial"),
    position: header("Rushgate-Position"),
    retryAfter: header("Retry-After"),
  };
}
