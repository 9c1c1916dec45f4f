// One applicant, who applies as a client should: until there is a decision, and not sooner than the answer says.

import { sleep } from "k6";
import { apply, applyAtOnce, ask } from "./api.js";
import { attempts, userId } from "./settings.js";
import { noteAnswer, noteChange, noteUndecided, noteWinner } from "./tally.js";

export class Applicant {
  constructor(number) {
    this.userId = userId(number);
    this.serial = 0;
  }

  /** Applies once. */
  apply(params) {
    return this.heard(apply(this.userId, params));
  }

  /** Applies `times` times at the same moment. */
  applyAtOnce(times) {
    return applyAtOnce(this.userId, times).map((answer) => this.heard(answer));
  }

  /** Asks what became of the application. */
  ask() {
    return this.heard(ask(this.userId));
  }

  /** Applies until there is a decision; returns the last answer. */
  applyUntilDecided() {
    for (let attempt = 1; attempt <= attempts; attempt++) {
      const answer = this.apply();
      if (!answer.isLost && !answer.isRejected) return answer;
      sleep(pause(answer.retryAfter));
    }
    noteUndecided(this.userId);
    return null;
  }

  /** Takes in an answer: a serial that was told once may not change. */
  heard(answer) {
    noteAnswer(answer);
    const { serial } = answer;
    if (serial !== 0 && this.serial === 0) noteWinner(serial);
    if (serial !== 0 && this.serial !== 0 && serial !== this.serial) {
      noteChange(this.userId, this.serial, serial);
    }
    if (serial !== 0) this.serial = serial;
    return answer;
  }
}

/** The time until the next request, in s: what the answer says, else `standard`; and up to a half more, at random. */
export function pause(retryAfter, standard = 1) {
  return (retryAfter || standard) * (1 + Math.random() / 2);
}
