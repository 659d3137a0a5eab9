/**
 * The program that holds kubelet back until identity and boot are affirmed. `decide` says whether kubelet may
 * start, `run` asks the server, `way-in` looks for an operator's word, and `kept-order` remembers the server's;
 * see `docs/gate.md`.
 */

import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openTpm, ToolError, type Tpm } from 'node-tpm2';
import {
  type GateOpening,
  type GateOrder,
  type OpenedByItself,
  ownOpenings,
} from '../../attest-server/wire/gate.ts';
import type { RefusalMessage, VerdictMessage } from '../../attest-server/wire/messages.ts';
import { type AuditWitness, openAuditWitness } from '../audit-witness.ts';
import { backOff } from '../back-off.ts';
import { openChannel } from '../channel.ts';
import { readBootId } from '../collectors/boot-id.ts';
import { earlyCollectors } from '../collectors/early.ts';
import type { ServerAddress } from '../config.ts';
import { type Conversation, startConversation } from '../conversation.ts';
import { describeFault } from '../describe-fault.ts';
import { type Identity, noIdentity, readIdentity } from '../identity.ts';
import type { Logger } from '../logger.ts';
import { nodeReader } from '../node-reader.ts';
import { readTrust } from '../server-identity.ts';
import { openStateDir, type StateDir } from '../state-dir.ts';
import { readVersion } from '../version.ts';
import type { GateConfig } from './config.ts';
import { GateConsole, type MissingCondition } from './console.ts';
import { type Decision, decide, type GateStatus } from './decide.ts';
import { exitCodeOf } from './exit-code.ts';
import { type KeptGateState, nothingKept, orderUnder, readKept, writeKept } from './kept-order.ts';
import { readWayIn } from './way-in.ts';

export interface GateDependencies {
  readonly logger: Logger;
  /** Ends the gate without a decision. */
  readonly signal: AbortSignal;
  /** Prints on the console. */
  readonly print: (line: string) => void;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

/** How often it looks for the file of an operator, and at the clock, in milliseconds. */
const lookEvery = 250;
/** How long it waits, at its end, for the server to take what it says. */
const farewellWithin = 2_000;

/**
 * Holds until identity and boot are affirmed for this boot, or until something else lets it go on (`decide`).
 * @returns the exit code; 1 where the signal ended it
 */
export async function runGate(config: GateConfig, dependencies: GateDependencies): Promise<number> {
  const gate = new Gate(config, dependencies);
  try {
    return await gate.run();
  } finally {
    await gate.close();
  }
}

class Gate {
  readonly #config: GateConfig;
  readonly #with: GateDependencies;
  readonly #console: GateConsole;
  /** Ends the connections once there is a decision. */
  readonly #decided = new AbortController();
  #status: GateStatus;
  #kept: KeptGateState = nothingKept;
  #state: StateDir | null = null;
  #opening: Promise<StateDir> | null = null;
  #writing: Promise<void> = Promise.resolve();
  #wanted: MissingCondition = { code: 'not_asked', text: 'no server has answered yet', by: 'fault' };
  /** A conversation in which something was proven. */
  #proven: { readonly conversation: Conversation; readonly close: () => void } | null = null;
  #tpm: Tpm | null = null;
  #identity: Identity | null = null;
  readonly #failed = new Set<string>();

  constructor(config: GateConfig, dependencies: GateDependencies) {
    this.#config = config;
    this.#with = dependencies;
    const { node, openFile, timeout } = config;
    this.#console = new GateConsole({ node, openFile, print: dependencies.print });
    this.#status = {
      since: dependencies.now(),
      order: null,
      kept: null,
      askedInVain: false,
      operator: null,
      timeout: timeout === null ? null : timeout * 1000,
    };
  }

  async run(): Promise<number> {
    const { signal, logger, print } = this.#with;
    await mkdir(dirname(this.#config.openFile), { recursive: true, mode: 0o700 }).catch((error: unknown) =>
      logger.warn(describeFault(error), 'the folder for the file of an operator cannot be made'),
    );
    const connecting = this.#connect(AbortSignal.any([signal, this.#decided.signal]));
    const decision = await this.#decide();
    if (decision !== null) {
      this.#console.ends(decision, { reason: this.#status.operator ?? '' });
      logger.info({ code: 'gate', ...decision }, 'the gate has decided');
      await this.#farewell(decision);
    } else print('assay-gate: stopped before it let kubelet start\n');
    this.#decided.abort();
    // A TPM or a server that hangs keeps nobody out.
    await soon(connecting);
    return decision === null ? 1 : exitCodeOf(decision);
  }

  async close(): Promise<void> {
    this.#decided.abort();
    await this.#closeTpm();
  }

  /** Looks until there is a decision; null if the signal came first. */
  async #decide(): Promise<Exclude<Decision, { do: 'wait' }> | null> {
    const { signal, now } = this.#with;
    while (!signal.aborted) {
      const found = await readWayIn(this.#config.openFile);
      if (found.is === 'open') this.#status = { ...this.#status, operator: found.reason };
      else if (found.is === 'ignored') this.#console.ignores(found.why);
      const decision = decide(this.#status, now());
      if (decision.do !== 'wait') return decision;
      this.#console.waits(this.#wanted, decision, now());
      await sleep(lookEvery, undefined, { signal }).catch(() => undefined);
    }
    return null;
  }

  /** Asks the servers in turn, until the signal. A fault of any kind may be fixed meanwhile: it is reported, and tried again. */
  async #connect(signal: AbortSignal): Promise<void> {
    let failures = 0;
    for (let turn = 0; !signal.aborted; turn++) {
      const server = this.#config.servers[turn % this.#config.servers.length];
      if (server === undefined) return;
      let wasHeard = false;
      try {
        wasHeard = await this.#converse(server, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#fails(error, server);
      }
      failures = wasHeard ? 0 : failures + 1;
      await sleep(backOff(failures, Math.random), undefined, { signal }).catch(() => undefined);
    }
  }

  #fails(error: unknown, server: ServerAddress): void {
    const { code, text } = describeFault(error);
    const address = `${server.host}:${server.port}`;
    this.#with.logger.warn({ code, text, server: address }, 'nothing was proven');
    this.#wanted = { code, text, by: 'fault' };
    this.#failed.add(address);
    if (this.#failed.size >= this.#config.servers.length)
      this.#status = { ...this.#status, askedInVain: true };
  }

  /** One connection, to its end. Tells whether the server gave a verdict. */
  async #converse(server: ServerAddress, signal: AbortSignal): Promise<boolean> {
    const { logger } = this.#with;
    const { node, caFile, sysroot } = this.#config;
    const state = await this.#openState();
    const trust = await readTrust({ caFile, joinToken: null, state }, server, signal);
    this.#status = { ...this.#status, kept: orderUnder(this.#kept, trust.digests) };
    const witness = await openAuditWitness(state, (error) => logger.error(describeFault(error)));
    const identity = await this.#readTpm(signal);
    const tpm = this.#tpm;
    const takes = new Map();
    const channel = await openChannel({ server, authority: trust.pem, takes, signal });
    let verdicts = 0;
    const conversation = startConversation(channel, {
      role: 'gate',
      node,
      program: readVersion(),
      identity,
      tpm,
      readNode: nodeReader(earlyCollectors(), sysroot, logger),
      joinToken: null,
      clusterToken: null,
      checkpoint: witness.checkpoint,
      authorities: trust.digests,
      signal,
      on: {
        sent: (what) => logger.debug({ code: `${what}_sent` }, 'sent'),
        accepted: () => {},
        verdict: (verdict) => {
          verdicts++;
          logger.info({ code: 'verdict', state: verdict.state, codes: verdict.codes }, 'the server judged');
          if (verdict.authorities !== undefined) this.#inTurn(trust.learn(verdict.authorities, channel.peer));
          if (verdicts === 1) this.#becomesProven(conversation, () => channel.close());
          this.#judged(verdict, trust.digests, witness, conversation);
        },
        refused: (refusal) => this.#refused(refusal, trust.digests),
        fault: (error) => {
          logger.error(describeFault(error), 'no answer was given');
          this.#wanted = { ...describeFault(error), by: 'fault' };
          if (error instanceof ToolError) this.#identity = null;
        },
      },
    });
    const { code, status, reason } = await channel.closed;
    this.#proven = null;
    await witness.flush();
    logger.info({ code, status, reason }, 'the connection has ended');
    if (this.#identity === null || tpm === null) await this.#closeTpm();
    if (verdicts === 0 && this.#wanted.code === 'not_asked')
      this.#wanted = { code, text: 'the server closed the connection', by: 'fault' };
    return verdicts > 0;
  }

  #becomesProven(conversation: Conversation, close: () => void): void {
    this.#proven = { conversation, close };
    const { untold } = this.#kept;
    if (untold === null) return;
    conversation.opened(untold);
    this.#keep({ ...this.#kept, untold: null });
  }

  #judged(
    verdict: VerdictMessage,
    authorities: readonly string[],
    witness: AuditWitness,
    conversation: Conversation,
  ): void {
    const { state, codes, gate } = verdict;
    const rollback = witness.observe(verdict);
    if (rollback !== null) {
      this.#with.logger.error({ code: 'audit_rollback', text: rollback }, 'the audit log was changed');
      conversation.auditRollback();
    }
    if (gate === undefined) {
      this.#wanted = { code: 'malformed', text: 'the server says nothing of gates: update it', by: 'fault' };
      return;
    }
    const code = gate.codes[0] ?? codes[0] ?? state;
    this.#wanted = {
      code,
      text: `the node is ${state}: its identity and boot are not affirmed`,
      by: 'verdict',
    };
    this.#ordered(gate, authorities);
  }

  #refused({ code, gate }: RefusalMessage, authorities: readonly string[]): void {
    const known = refusals.get(code) ?? 'the server refuses this node';
    this.#with.logger.warn({ code }, 'the server refused');
    this.#wanted = { code, text: known, by: code === 'server_fault' ? 'fault' : 'refusal' };
    if (gate !== undefined) this.#ordered(gate, authorities);
  }

  #ordered(order: GateOrder, authorities: readonly string[]): void {
    this.#status = { ...this.#status, order };
    const { mode, timeout, onTimeout } = order;
    this.#keep({ ...this.#kept, order: { mode, timeout, onTimeout }, authorities: authorities.slice(0, 64) });
  }

  /** Reports and keeps the decision at the end. */
  async #farewell(decision: Exclude<Decision, { do: 'wait' }>): Promise<void> {
    const proven = this.#proven;
    const why = decision.do === 'open' ? ownOpening(decision.why) : null;
    if (why !== null) {
      const opened = await this.#opened(why);
      if (opened !== null && proven !== null) proven.conversation.opened(opened);
      else if (opened !== null) await this.#keepUntold(opened);
    }
    await this.#writing;
    if (proven === null) return;
    proven.close();
    await soon(proven.conversation.closed);
  }

  /** Null if the boot cannot be named: an operator is not kept out for that. */
  async #opened(why: OpenedByItself['why']): Promise<OpenedByItself | null> {
    try {
      const bootId = await readBootId(this.#config.sysroot);
      return { type: 'opened', why, bootId, reason: this.#status.operator ?? '' };
    } catch (error) {
      this.#with.logger.error(describeFault(error), 'the server is not told that the gate opened');
      return null;
    }
  }

  /** Reported to the server at the next boot. */
  async #keepUntold(opened: OpenedByItself): Promise<void> {
    try {
      await this.#openState();
      this.#keep({ ...this.#kept, untold: opened });
    } catch (error) {
      this.#with.logger.error(describeFault(error), 'the server is not told that the gate opened');
    }
  }

  #keep(kept: KeptGateState): void {
    if (JSON.stringify(kept) === JSON.stringify(this.#kept)) return;
    this.#kept = kept;
    const state = this.#state;
    if (state === null) return;
    this.#inTurn(this.#writing.then(() => writeKept(state, kept)));
  }

  /** Queues work that is to be on disk before this program ends. */
  #inTurn(work: Promise<unknown>): void {
    this.#writing = Promise.all([this.#writing, work]).then(
      () => {},
      (error: unknown) => this.#with.logger.error(describeFault(error)),
    );
  }

  #openState(): Promise<StateDir> {
    if (this.#opening === null) {
      const opening = this.#readState();
      this.#opening = opening;
      // The error goes to whoever awaits it; a folder that was fixed is opened the next time.
      opening.catch(() => {
        this.#opening = null;
      });
    }
    return this.#opening;
  }

  async #readState(): Promise<StateDir> {
    const state = await openStateDir(this.#config.stateDir);
    this.#kept = await readKept(state);
    this.#state = state;
    return state;
  }

  async #readTpm(signal: AbortSignal): Promise<Identity> {
    if (this.#identity !== null) return this.#identity;
    await this.#closeTpm();
    try {
      this.#tpm = await openTpm({ tcti: this.#config.tcti, signal });
      this.#identity = await readIdentity(this.#tpm);
      return this.#identity;
    } catch (error) {
      await this.#closeTpm();
      if (!(error instanceof ToolError) || error.code !== 'no_tpm') throw error;
      this.#with.logger.error(describeFault(error), 'no usable TPM');
      return noIdentity;
    }
  }

  async #closeTpm(): Promise<void> {
    const tpm = this.#tpm;
    this.#tpm = null;
    this.#identity = null;
    await tpm?.close();
  }
}

/** Waits for it, and not for long. The timer keeps the program alive meanwhile: else it would end before it has its exit code. */
async function soon(work: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  const late = sleep(farewellWithin, undefined, { signal: done.signal }).catch(() => undefined);
  await Promise.race([work, late]);
  done.abort();
}

function ownOpening(why: GateOpening): OpenedByItself['why'] | null {
  return ownOpenings.find((own) => own === why) ?? null;
}

const refusals: ReadonlyMap<string, string> = new Map([
  ['enrolment_pending', 'the server knows no TPM of this node: somebody must vouch for this one'],
  ['identity_claim_mismatch', 'the TPM of this machine is enrolled as another node'],
  ['unsupported_tpm', 'this machine has no TPM that can be used'],
  ['server_fault', 'the server cannot judge or store at present'],
]);
