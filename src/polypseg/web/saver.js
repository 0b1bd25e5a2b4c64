/* Saves one frame of a project: at once after each change, one request at a time (what changed meanwhile goes with the
   next), again and again where it fails. What a person drew is never given up: it stays here until the server has it. */

import { ask, put } from "./api.js";
import { maskPng } from "./paint.js";

const FIRST_RETRY = 2_000, LAST_RETRY = 30_000;
const CONFLICT = 409;
const FATAL = [404, 413, 422]; // asking again does not help

/** `session` holds { record, mask }; `options`: labeller() and onChange(saver, answer), called after each change. */
export class Saver {
  constructor(session, options) {
    Object.assign(this, { session, options, kind: "saved", problem: null, wanted: null, attempt: null, numFailed: 0, running: null });
  }

  get isSaved() {
    return this.kind === "saved";
  }

  /** Notes what the frame is now; a mask goes with it where `hasMask`. */
  change(state, hasMask) {
    this.wanted = { state, hasMask };
    if (this.kind === "conflict") { this.options.onChange(this); return; }
    this.tell("pending");
    this.plan(0); // after what is to happen with the change
  }

  plan(milliseconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), milliseconds);
  }

  /** Saves now what is to be saved. */
  async flush() {
    clearTimeout(this.timer);
    while (this.running) await this.running;
    if (!(this.wanted || this.attempt) || this.kind === "conflict") return;
    this.running = this.send();
    await this.running;
    this.running = null;
    if (this.wanted && this.kind === "pending") await this.flush();
  }

  /* What may have arrived although its answer did not is sent again as it was, before anything newer: the server knows it. */
  async send() {
    this.tell("saving");
    try {
      this.attempt ??= await this.packed();
      const { address, body } = this.attempt;
      const answer = await put(address, body);
      Object.assign(this.session.record, answer);
      Object.assign(this, { attempt: null, problem: null, numFailed: 0 });
      this.tell(this.wanted ? "pending" : "saved", answer);
    } catch (problem) {
      this.problem = problem;
      if (problem.status >= 400 && problem.status < 500) { // it was refused; 0 stands for no answer
        this.wanted ??= this.attempt?.wanted ?? null;
        this.attempt = null;
      }
      await this.failed(problem);
    }
  }

  async packed() {
    const { wanted } = this;
    const { record: { id, revision, width, height }, mask } = this.session;
    this.wanted = null; // what changes from here on is another save
    const query = new URLSearchParams({ state: wanted.state, labeller: this.options.labeller(), revision });
    try {
      const body = wanted.hasMask ? await maskPng(mask, width, height) : null;
      return { wanted, address: `/project/frames/${encodeURIComponent(id)}/mask?${query}`, body };
    } catch (error) {
      this.wanted ??= wanted;
      throw error;
    }
  }

  async failed(problem) {
    if (problem.status === CONFLICT && await this.isOvertaken()) { this.tell("conflict"); return; }
    this.numFailed++;
    this.tell("failed");
    if (!FATAL.includes(problem.status)) this.plan(Math.min(LAST_RETRY, FIRST_RETRY * 2 ** (this.numFailed - 1)));
  }

  /** What the server holds of the frame by now: { labeller, time, revision }, or null. */
  async latest() {
    const history = await ask(`/project/frames/${encodeURIComponent(this.session.record.id)}/history`);
    return history.reduce((last, one) => (last && last.revision > one.revision ? last : one), null);
  }

  /* Whether somebody saved since; a project refuses for other reasons, too. */
  async isOvertaken() {
    return this.latest().then((last) => (last?.revision ?? 0) !== this.session.record.revision, () => true);
  }

  /** Saves over what somebody else saved. */
  async keepMine() {
    const last = await this.latest();
    if (last) this.session.record.revision = last.revision;
    this.tell("pending");
    await this.flush();
  }

  /** Gives up what is here. */
  drop() {
    clearTimeout(this.timer);
    Object.assign(this, { wanted: null, attempt: null });
    this.tell("saved");
  }

  tell(kind, answer) {
    this.kind = kind;
    this.options.onChange(this, answer);
  }
}
