// The rush as a k6 script, with what must hold as thresholds.
//
//   cargo xtask load rush                                       a new campaign on the running stack
//   k6 run -e RUSHGATE_URL=http://127.0.0.1:3000 -e CAMPAIGN=launch -e QUOTA=100 load/rush.js
//
// The campaign must be new: k6 counts the grants that it sees, and all of them must be its own.

import { check } from "k6";
import exec from "k6/execution";
import http from "k6/http";
import { Counter } from "k6/metrics";

const url = __ENV.RUSHGATE_URL || "http://127.0.0.1:3000";
const campaign = __ENV.CAMPAIGN || "launch";
const quota = Number(__ENV.QUOTA || 100);
const applicants = Number(__ENV.APPLICANTS || 10000);
const concurrency = Number(__ENV.CONCURRENCY || 100);

const granted = new Counter("granted");
const alreadyGranted = new Counter("already_granted");
const soldOut = new Counter("sold_out");
const unexplained = new Counter("unexplained");
const serialsChanged = new Counter("serials_changed");
const outOfQuota = new Counter("serials_out_of_quota");

export const options = {
  scenarios: {
    rush: {
      executor: "shared-iterations",
      vus: Math.min(concurrency, applicants),
      iterations: applicants,
      maxDuration: "10m",
    },
  },
  thresholds: {
    granted: [`count==${Math.min(quota, applicants)}`],
    unexplained: ["count==0"],
    serials_changed: ["count==0"],
    serials_out_of_quota: ["count==0"],
    checks: ["rate==1"],
  },
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
};

// 4xx is an answer here, not a failure.
http.setResponseCallback(http.expectedStatuses(200, 201, 410));

function apply(user_id) {
  const response = http.post(
    `${url}/v1/campaigns/${campaign}/applications`,
    JSON.stringify({ user_id }),
    { headers: { "content-type": "application/json" }, tags: { name: "apply" } },
  );
  const serial = Number(response.headers["Rushgate-Serial"] || 0);
  if (response.status === 201) {
    granted.add(1);
    if (serial < 1 || serial > quota) outOfQuota.add(1);
  } else if (response.status === 200) {
    alreadyGranted.add(1);
  } else if (response.status === 410) {
    soldOut.add(1);
  } else {
    unexplained.add(1);
    console.error(`${response.status} ${response.body}`);
  }
  return serial;
}

export default function () {
  const person = exec.scenario.iterationInTest;
  const serial = apply(`k6-${person}`);
  // One in ten clicks again and must be told the same.
  if (person % 10 === 0) {
    const again = apply(`k6-${person}`);
    if (serial !== 0 && again !== serial) serialsChanged.add(1);
  }
}

export function teardown() {
  const response = http.get(`${url}/v1/campaigns/${campaign}`);
  check(response, {
    "the gate has granted exactly what was due": (r) =>
      r.json("round.granted") === Math.min(quota, applicants),
  });
}
