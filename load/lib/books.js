// Looks at the campaign before and after a load test, by the public API.

import { check, sleep } from "k6";
import exec from "k6/execution";
import { askAll, read, time } from "./api.js";
import { campaign, quota, url, userId, verified } from "./settings.js";

// Questions under way at a time.
const atOnce = 50;

// How often questions are repeated, and counts are read again: every half a second. Counts may be a second old.
const tries = 20;
const interval = 0.5;

/** Options of k6 that all scripts have. */
export const common = {
  batch: atOnce,
  batchPerHost: atOnce,
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
  teardownTimeout: "10m",
};

/** Ends the test unless the campaign is new and its round is open. */
export function requireOpenCampaign() {
  const { state, round, next_round } = requireNewCampaign();
  if (state !== "running") stop(`campaign ${campaign} is ${state}: resume it, or create a new one`);
  if (!round && next_round) stop(`campaign ${campaign} opens at ${next_round.opens_at}: use opening.js, or wait`);
  if (!round) stop(`campaign ${campaign} has no open round: create a new one`);
}

/** Ends the test unless the campaign opens soon; returns when, in ms of the clock of Redis. */
export function requireOpening(withinSeconds) {
  const { round, next_round, now } = requireNewCampaign();
  if (round || !next_round) stop(`campaign ${campaign} is open already: create one with --opens-at in a minute`);
  const opensAt = Date.parse(next_round.opens_at);
  if (opensAt - now > withinSeconds * 1000) {
    stop(`campaign ${campaign} opens at ${next_round.opens_at}: start at most ${withinSeconds} s before`);
  }
  return opensAt;
}

/**
 * Asks about the applicants 0 to `count` - 1 (of more than VERIFY, about every n-th), and checks that no two of them hold
 * the same serial, that no serial is above the quota, and that the gate counts as many grants. `due`: how many must hold a
 * serial; if it is not given, at most the quota. Returns the answers.
 */
export function checkBooks(count, due) {
  const step = verified === 0 ? Infinity : Math.ceil(count / verified);
  const numbers = [];
  for (let number = 0; verified > 0 && number < count; number += step) numbers.push(number);
  const answers = askUntilAnswered(numbers.map(userId));
  const holders = new Map();
  let twice = 0;
  for (const { userId, decision, serial } of answers) {
    if (decision !== "granted" && decision !== "issued") continue;
    if (holders.has(serial)) {
      twice += 1;
      console.error(`serial ${serial} is held by ${holders.get(serial)} and by ${userId}`);
    }
    holders.set(serial, userId);
  }
  const granted = countOfGrants(step === 1 ? holders.size : due) ?? holders.size;
  const serials = [...holders.keys()];
  check(null, {
    "every question was answered": () => answers.every(({ status }) => status === 200 || status === 404),
    "no serial is held twice": () => twice === 0,
    "no serial is above the quota": () => serials.every((serial) => serial <= quota),
    "the gate has granted at most the quota": () => granted <= quota,
    "the gate counts each holder once": () => step !== 1 || granted === holders.size,
    "every coupon that was due is granted": () => due === undefined || granted === due,
  });
  return answers;
}

// The number of grants that the gate counts, as soon as it is `wanted`, or after some seconds; null if the campaign does not
// show it.
function countOfGrants(wanted) {
  for (let attempt = 1; ; attempt++) {
    const granted = read().json("round.granted");
    if (wanted === undefined || granted === wanted || granted === null || attempt === tries) return granted;
    sleep(interval);
  }
}

function askUntilAnswered(userIds) {
  const answers = new Map();
  let open = userIds;
  for (let attempt = 1; attempt <= tries && open.length > 0; attempt++) {
    if (attempt > 1) sleep(interval);
    for (let at = 0; at < open.length; at += atOnce) {
      const some = open.slice(at, at + atOnce);
      askAll(some).forEach((answer, index) => answers.set(some[index], answer));
    }
    open = open.filter((userId) => answers.get(userId).isLost || answers.get(userId).isRejected);
  }
  return [...answers].map(([userId, answer]) => ({ userId, ...answer }));
}

function requireNewCampaign() {
  const response = readUntilAnswered();
  if (response.status === 0) stop(`there is no answer from ${url}: ${response.error}`);
  const create = `rushgate campaign create --id ${campaign} --quota ${quota}`;
  if (response.status === 404) stop(`there is no campaign ${campaign}: ${create}`);
  if (response.status !== 200) stop(`campaign ${campaign} cannot be read: ${response.status} ${response.body}`);
  const state = response.json();
  const { granted, quota: its } = state.round ?? {};
  if (granted > 0) stop(`campaign ${campaign} has granted ${granted} coupons: create a new one`);
  if (its && its !== quota) stop(`campaign ${campaign} has a quota of ${its}: set -e QUOTA=${its}`);
  return { ...state, now: time(response) };
}

function readUntilAnswered() {
  // Instances that were asked for the campaign before its creation do not know it for a second more.
  sleep(1);
  for (let attempt = 1; ; attempt++) {
    const response = read();
    const enough = { 0: 4, 429: tries, 503: tries }[response.status] ?? 1;
    if (attempt >= enough) return response;
    sleep(interval);
  }
}

function stop(why) {
  exec.test.abort(why);
}
