/**
 * The agent of a node. `main` is the composition root; `command-line` and `config` turn environment and file into
 * a configuration, and `resident` starts with it what stays, without them. `run` is the agent's life: connect,
 * answer, come back; `conversation` is one conversation with a server.
 *
 * `evidence` and `node-reader` ask every collector, bind the parts to the nonce, and have the TPM seal them.
 * `identity` has the keys shown in the hello, and `activation` proves that they are of one TPM. `channel` is
 * the WebSocket; `server-identity`, `announced-authorities` and `join-token` know which authorities vouch for
 * the server, and who said so.
 *
 * `state-dir` is the private folder, `cluster-token` the token of the agent's service account; `audit-witness`
 * keeps the server's checkpoints, `back-off` says when to try again, `changes` that something changed
 * meanwhile, `agent-error` why the agent cannot go on. `guarded-socket` is a Unix socket for one group alone,
 * and `prepare-state` makes the folders of a pod for its programs.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { TpmOptions } from 'node-tpm2';
import { ToolError } from 'node-tpm2/run';
import { adviceOn } from '../attest-server/wire/advice.ts';
import type { VerdictMessage } from '../attest-server/wire/messages.ts';
import { isReasonCode } from '../attest-server/wire/reasons.ts';
import type { ActivatingTpm } from './activation.ts';
import { AgentError } from './agent-error.ts';
import { type AuditWitness, openAuditWitness } from './audit-witness.ts';
import { backOff } from './back-off.ts';
import { PendingChanges } from './changes.ts';
import { type FrameTaker, openChannel } from './channel.ts';
import { readClusterToken } from './cluster-token.ts';
import type { Collector } from './collectors/collector.ts';
import { collectors } from './collectors/list.ts';
import type { AgentConfig, ServerAddress } from './config.ts';
import { startConversation } from './conversation.ts';
import { describeFault } from './describe-fault.ts';
import type { QuotingTpm } from './evidence.ts';
import type { HealthSocket } from './health/health-socket.ts';
import { Progress } from './health/progress.ts';
import { type Identity, type IdentityTpm, noIdentity, readIdentity } from './identity.ts';
import { type JoinToken, readJoinToken } from './join-token.ts';
import type { Logger } from './logger.ts';
import { watchFirewall } from './netfilter/client.ts';
import { nodeReader, type ReadNode } from './node-reader.ts';
import { readTrust } from './server-identity.ts';
import { openStateDir, type StateDir } from './state-dir.ts';
import { openBrokerTpm } from './tpm-broker/client.ts';
import { readVersion } from './version.ts';
import { watched } from './watch/list.ts';
import { startWatch, type Watch } from './watch/watch.ts';

/** The steps of an agent as it takes them; the verdict is the server's word. */
export type AgentState =
  | { readonly phase: 'connecting' | 'offline' }
  | { readonly phase: 'sent'; readonly what: 'hello' | 'activated' | 'evidence' | 'evidence_raced' }
  | { readonly phase: 'verdict'; readonly verdict: VerdictMessage };

export interface AgentDependencies {
  readonly logger: Logger;
  /** Ends the agent. */
  readonly signal: AbortSignal;
  readonly onState?: (state: AgentState) => void;
  /** Fires `changed` when something on the node moved and the server should ask now. */
  readonly changes?: EventTarget;
  /** Default: all of the list. */
  readonly collectors?: readonly Collector[];
}

/**
 * The life of an agent: connects, says who it is, answers each challenge, and comes back after each loss, until the signal. It
 * listens on no network; to whoever asks at its health socket it says how it is.
 * @throws AgentError that no waiting fixes: `state_dir`, `ca_file`, `join_token`; ToolError `bad_input`
 */
export async function runAgent(config: AgentConfig, dependencies: AgentDependencies): Promise<void> {
  const agent = new Agent(config, dependencies);
  try {
    await agent.run();
  } finally {
    await agent.close();
  }
}

/** The part of a TPM that the agent needs: its own TPM, or that of the broker. */
interface AgentTpm extends IdentityTpm, ActivatingTpm, QuotingTpm {
  close(): Promise<void>;
}

interface OpenTpm {
  readonly tpm: AgentTpm | null;
  readonly identity: Identity;
}

/** A machine without a TPM looks for one again this often. */
const lookAgainMs = 60_000;
/** Milliseconds that an answer waits for a look of the watch. */
const lookedWithin = 1_000;

const serverFault =
  'the server cannot judge or store the evidence of this node. The fault is at the server, not here; the agent tries again';

/** None yet. */
const takes: ReadonlyMap<number, FrameTaker> = new Map();

class Agent {
  readonly #config: AgentConfig;
  readonly #with: AgentDependencies;
  readonly #changes = new PendingChanges();
  readonly #ended = new AbortController();
  readonly #progress = new Progress(() => performance.now(), Date.now);
  #watching: Promise<void> = Promise.resolve();
  #tpm: Promise<OpenTpm> | null = null;

  constructor(config: AgentConfig, dependencies: AgentDependencies) {
    this.#config = config;
    this.#with = dependencies;
  }

  async run(): Promise<void> {
    const { logger, signal, onState, changes } = this.#with;
    const { healthSocket } = this.#config;
    await using health = healthSocket === null ? null : await this.#serveHealth(healthSocket);
    // Nobody can ask any more: who asks finds that, and starts this program again.
    health?.lost.addEventListener('abort', () => logger.error(describeFault(health.lost.reason)));
    changes?.addEventListener('changed', () => this.#changes.note('operator'), { signal });
    const state = await openStateDir(this.#config.stateDir);
    if (state.wasOpened !== null)
      logger.warn(
        { code: 'state_was_opened', ...state.wasOpened },
        'the group of the volume could read and change the state until this start: set fsGroupChangePolicy to OnRootMismatch',
      );
    // The TPM's programs run while this one loads its modules and connects.
    this.#openTpm();
    const witness = await openAuditWitness(state, (error) => logger.error(describeFault(error)));
    let protectedPaths: readonly string[] = [];
    using watch = this.#config.watch ? this.#watch(() => protectedPaths) : null;
    const list = this.#with.collectors ?? collectors(this.#config.netfilter);
    const readNode = nodeReader(list, this.#config.sysroot, logger, async (paths) => {
      protectedPaths = paths;
      // Below a file system that hangs it never ends; the answer is still sent, and says what was not read.
      if (watch !== null) await Promise.race([watch.look(), sleep(lookedWithin, undefined, { ref: false })]);
    });
    let failures = 0;
    for (let turn = 0; !signal.aborted; turn++) {
      const server = this.#config.servers[turn % this.#config.servers.length];
      if (server === undefined) return;
      let wasHeard = false;
      this.#progress.moved();
      try {
        onState?.({ phase: 'connecting' });
        wasHeard = await this.#converse(server, state, readNode, witness);
      } catch (error) {
        if (signal.aborted) return;
        if (!mayRetry(error)) throw error;
        const fault = describeFault(error);
        logger.warn({ ...fault, server: addressOf(server) }, 'not connected');
        this.#progress.disconnected(fault.code);
      }
      if (signal.aborted) return;
      onState?.({ phase: 'offline' });
      failures = wasHeard ? 0 : failures + 1;
      await sleep(backOff(failures, Math.random), undefined, { signal }).catch(() => undefined);
    }
  }

  async close(): Promise<void> {
    this.#ended.abort();
    await this.#watching;
    await this.#closeTpm();
  }

  /** Its code is loaded only where somebody asks: 0.1 MiB, held for as long as the node runs. */
  async #serveHealth(socket: string): Promise<HealthSocket> {
    const { serveHealth } = await import('./health/health-socket.ts');
    return serveHealth(socket, () => this.#progress.look());
  }

  /** Reports changes from now on, as far as there is somebody who asks. */
  #watch(paths: () => readonly string[]): Watch {
    this.#watchFirewall();
    return startWatch(
      watched(this.#config.sysroot, paths),
      (what) => this.#changes.note(what),
      this.#with.logger,
    );
  }

  /** Below another root than / there are no rules of this kernel to listen to. */
  #watchFirewall(): void {
    const { netfilter, sysroot } = this.#config;
    if (this.#with.collectors !== undefined || (netfilter === null && sysroot !== '/')) return;
    const signal = AbortSignal.any([this.#with.signal, this.#ended.signal]);
    this.#watching = watchFirewall(
      netfilter,
      () => this.#changes.note('firewall'),
      signal,
      this.#with.logger,
    );
  }

  /** One connection, to its end. Tells whether the server gave a verdict. */
  async #converse(
    server: ServerAddress,
    state: StateDir,
    readNode: ReadNode,
    witness: AuditWitness,
  ): Promise<boolean> {
    const { logger, onState } = this.#with;
    const token = await this.#readToken();
    const { clusterTokenFile } = this.#config;
    const clusterToken = clusterTokenFile === null ? null : await readClusterToken(clusterTokenFile);
    const opened = this.#openTpm();
    const ended = new AbortController();
    const signal = AbortSignal.any([this.#with.signal, ended.signal]);
    try {
      const trust = await readTrust({ caFile: this.#config.caFile, joinToken: token, state }, server, signal);
      const isEnrolled = (await state.read('enrolled')) !== null;
      const presented = isEnrolled ? null : (token?.presented ?? null);
      const [channel, { tpm, identity }] = await Promise.all([
        openChannel({
          server,
          authority: trust.pem,
          takes,
          signal,
          onHeard: () => this.#progress.moved(),
        }),
        opened,
      ]);
      let verdicts = 0;
      let tpmFailed = false;
      let toldRollback = false;
      let disconnect = () => {};
      const conversation = startConversation(channel, {
        node: this.#config.node,
        program: readVersion(),
        identity,
        tpm,
        readNode,
        joinToken: presented,
        clusterToken,
        checkpoint: witness.checkpoint,
        authorities: trust.digests,
        signal,
        on: {
          sent: (what) => {
            logger.debug({ code: `${what}_sent`, ms: Math.round(performance.now()) }, 'sent');
            onState?.({ phase: 'sent', what });
          },
          verdict: (verdict) => {
            verdicts++;
            this.#progress.judged();
            logger.info({ code: 'verdict', state: verdict.state, codes: verdict.codes }, 'the server judged');
            onState?.({ phase: 'verdict', verdict });
            if (verdict.authorities !== undefined)
              trust.learn(verdict.authorities, channel.peer).then(
                (isNew) => {
                  if (isNew)
                    logger.warn(
                      { code: 'authorities', trusted: trust.digests },
                      'the server announced its authorities',
                    );
                  conversation.trusts(trust.digests);
                },
                (error: unknown) => logger.error(describeFault(error)),
              );
            const rollback = witness.observe(verdict);
            if (rollback !== null && !toldRollback) {
              toldRollback = true;
              logger.error(
                { code: 'audit_rollback', text: rollback },
                'the audit log of the server was changed',
              );
              conversation.auditRollback();
            }
            if (!isEnrolled && !verdict.codes.some((code) => unknownNode.has(code)))
              state.write('enrolled', '').catch((error: unknown) => logger.error(describeFault(error)));
          },
          accepted: () => {
            disconnect = this.#changes.connect((what) => conversation.changed(what));
          },
          refused: ({ code }) => {
            if (code === 'unsupported_tpm' && tpm === null) this.#progress.withoutTpm();
            const isStrange = code === 'malformed' && verdicts === 0;
            const text = isStrange ? 'the server refused; is it of another version?' : 'the server refused';
            // A server of later may have more of them.
            const next = isReasonCode(code) ? adviceOn(code, { node: this.#config.node }) : null;
            logger.warn({ code, next }, code === 'server_fault' ? serverFault : text);
            if (presented !== null && code === 'enrolment_pending')
              logger.warn({ code: 'join_token' }, this.#whyNotJoined());
            // A node whose enrolment was revoked shows a token again: its operator may have put a new one there.
            if (isEnrolled && unknownNode.has(code))
              state.remove('enrolled').catch((error: unknown) => logger.error(describeFault(error)));
          },
          fault: (error) => {
            tpmFailed ||= isOfTpm(error);
            logger.error(describeFault(error), 'no answer was given');
          },
        },
      });
      const lookAgain = tpm === null ? setTimeout(() => channel.close(), lookAgainMs) : undefined;
      const { code, status, reason } = await conversation.closed;
      clearTimeout(lookAgain);
      disconnect();
      logger.info({ code, status, reason }, 'the connection has ended');
      this.#progress.disconnected(`the connection has ended (${reason || code})`);
      if (tpmFailed || tpm === null) await this.#closeTpm();
      return verdicts > 0;
    } finally {
      ended.abort();
      await witness.flush();
    }
  }

  /** The server tells a stranger its code alone. */
  #whyNotJoined(): string {
    const { node, joinTokenFile } = this.#config;
    return `the server did not enrol ${node} by the join token in ${joinTokenFile}: it holds for one node, once, and for a short time. The server's log says what is wrong with it; to make another: assay join-token create --node ${node}`;
  }

  #openTpm(): Promise<OpenTpm> {
    if (this.#tpm === null) {
      const opened = this.#readTpm();
      this.#tpm = opened;
      // The error goes to whoever awaits it; a failed one is opened again the next time.
      opened.catch(() => {
        if (this.#tpm === opened) this.#tpm = null;
      });
    }
    return this.#tpm;
  }

  async #readTpm(): Promise<OpenTpm> {
    const { tcti, tpmBroker } = this.#config;
    const { signal } = this.#with;
    let tpm: AgentTpm | null = null;
    try {
      tpm = tpmBroker === null ? await openOwnTpm({ tcti, signal }) : openBrokerTpm(tpmBroker, { signal });
      return { tpm, identity: await readIdentity(tpm) };
    } catch (error) {
      await tpm?.close();
      if (!(error instanceof ToolError) || !noUsableTpm.has(error.code)) throw error;
      this.#with.logger.error(
        { ...describeFault(error), code: 'unsupported_tpm', cause: error.code },
        'no usable TPM',
      );
      return { tpm: null, identity: noIdentity };
    }
  }

  async #closeTpm(): Promise<void> {
    const opened = this.#tpm;
    this.#tpm = null;
    const settled = await opened?.catch(() => null);
    await settled?.tpm?.close();
  }

  #readToken(): Promise<JoinToken | null> {
    const { joinTokenFile } = this.#config;
    return joinTokenFile === null ? Promise.resolve(null) : readJoinToken(joinTokenFile);
  }
}

/** Its code is loaded only where no broker holds the TPM: 0.3 MiB, held for as long as the node runs. */
async function openOwnTpm(options: TpmOptions): Promise<AgentTpm> {
  const { openTpm } = await import('node-tpm2');
  return openTpm(options);
}

const addressOf = ({ host, port }: ServerAddress) => `${host}:${port}`;

/** The server does not know this node yet: the join token is still to be shown. */
const unknownNode: ReadonlySet<string> = new Set(['enrolment_pending', 'unsupported_tpm']);

const noUsableTpm: ReadonlySet<string> = new Set(['no_tpm', 'missing_program', 'no_endorsement_key']);

/** The TPM, or the broker that holds it: what is known of its keys is asked again. */
function isOfTpm(error: unknown): boolean {
  return error instanceof ToolError || (error instanceof AgentError && error.code === 'tpm_broker');
}

/** A TPM that fails may recover; a bad TCTI does not. */
function mayRetry(error: unknown): boolean {
  if (error instanceof ToolError) return error.code !== 'bad_input';
  return error instanceof AgentError && error.retryable;
}
