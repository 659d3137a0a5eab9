import type { Logger } from 'pino';
import type { AttestPorts, HistoryEntry } from '../attest/ports.ts';
import type { AuditRefusal, Noted } from '../audit/refusals.ts';
import type { ChannelPorts } from '../channel/ports.ts';
import type { DoorPort, HitBound } from '../door/bounds.ts';
import type { Alert } from '../enrolment/double-binding.ts';
import type { AuditEvent } from '../formats/audit.ts';
import { policyLabel } from '../formats/policy-label.ts';
import { faultText, type StorageCause, storageCauseOf } from '../formats/server-fault.ts';
import { turnsUntrusted } from '../formats/trust-loss.ts';
import type { MarkingParts } from '../marking/open.ts';
import type { PresenceReport } from '../presence/ports.ts';
import type { WebhookParts } from '../webhook/open.ts';
import type { OpenedByItself } from '../wire/gate.ts';
import { outsideText } from '../wire/printable.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { NodeState } from '../wire/verdict.ts';
import { GateOpenings } from './gate-openings.ts';
import { createMarkingReport } from './marking-report.ts';
import type { Metrics, ReloadedPart } from './metrics.ts';
import { createPresenceReport } from './presence-report.ts';
import { Sparingly } from './sparingly.ts';

interface ReporterParts {
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly now: () => number;
  readonly recorded: (entry: HistoryEntry) => void;
}

/** Where events go that belong into the audit log. */
export interface AuditPort {
  /** Whether a refusal has an entry, or is counted by one. */
  note(refusal: AuditRefusal, at: number): Noted;
  write(event: AuditEvent): Promise<void>;
}

export interface Reporter extends Pick<ChannelPorts<unknown>, 'failed'> {
  readonly marking: MarkingParts['report'];
  readonly presence: PresenceReport;
  readonly webhook: WebhookParts['report'];
  /** Something was refused. @param about `isEnrolled`: a node has that name */
  refused(code: ReasonCode, text: string, about: Omit<AuditRefusal, 'code' | 'text'>): void;
  readonly answered: AttestPorts['answered'];
  readonly recorded: AttestPorts['recorded'];
  /** A gate is told to let its node go on. */
  readonly gateOpened: AttestPorts['gateOpened'];
  /** A gate says that it did so by itself. */
  gateSaid(node: string, opened: OpenedByItself): void;
  alert(alert: Parameters<Alert>[0] & Pick<AuditRefusal, 'isEnrolled'>): void;
  /** A signature of an endorsement certificate is checked. */
  signatureChecked(): void;
  /** A source hit a bound of a port's door. */
  turnedAway(port: DoorPort, bound: HitBound, source: string): void;
  /** A policy is in force from now on. */
  policyInForce(policy: { readonly name: string; readonly revision: string }): void;
  /** What a policy that was read again makes of each node's latest evidence, beside the one before. */
  policyCompared(
    policy: { readonly name: string; readonly revision: string },
    nodes: readonly ComparedNode[],
  ): void;
  /** What was read again is faulty; the old one stays in force. */
  notReloaded(part: ReloadedPart, text: string): void;
  /** Another certificate of the server took the place of one that was good until `before`. Milliseconds since the epoch. */
  certificateRenewed(before: number, until: number): void;
  /** It is due, and could not be made anew: the one that is good until `until` is shown. */
  certificateNotRenewed(error: unknown, until: number): void;
  /** A kubelet had opened files of the state folder to a group; they are closed again. */
  stateWasOpened(opened: { readonly group: number; readonly paths: readonly string[] }): void;
  /** A request to the API that its caller may not make. */
  denied(code: ReasonCode, text: string, actor: string): void;
  /** A checkpoint of the audit log was signed. @param size entries */
  checkpointed(size: number): void;
  /** The audit log in the store is shorter than it was, or another one. */
  rolledBack(text: string): void;
  /** So says the checkpoint that an agent of this name brought. */
  contradicted(node: string, text: string): void;
  /** So says the checkpoint that the cluster kept. */
  contradictedByCluster(text: string): void;
  /** A checkpoint was written into the cluster; null: it was. */
  checkpointKept(error: Error | null): void;
  /** A row of the store was left out because nobody can read it. */
  unreadable(row: Error & { readonly table: string; readonly key: string }): void;
  /** A write failed. @param isNew not for the cause for which the one before failed */
  storageFailed(cause: StorageCause, error: unknown, isNew: boolean): void;
  /** What is written is stored again. */
  storageWorks(before: { readonly cause: StorageCause; readonly since: number }): void;
  fault(error: unknown, where: string): void;
}

interface ComparedNode {
  readonly node: string;
  readonly before: { readonly state: NodeState } | null;
  readonly after: { readonly state: NodeState } | null;
  readonly changed: boolean;
}

/** How many nodes a line of the log names. */
const mostNodes = 20;

/** How many audit entries wait for a disk that takes them. */
const mostLate = 1000;
/** How many unreadable rows are reported: each of them once. */
const mostNamed = 1000;

/** What each event does to the metrics, the log and the audit log. */
export function createReporter({ logger, metrics, now, recorded }: ReporterParts): {
  readonly report: Reporter;
  auditTo(audit: AuditPort): void;
} {
  const waiting: AuditEvent[] = [];
  let auditLog: AuditPort = {
    note: () => ({ event: null, isRepeated: false }),
    write: async (event) => void waiting.push(event),
  };
  const late: AuditEvent[] = [];
  /** Since the storage failed: entries that found no room here either, and answers that came to nothing. */
  const lost = { entries: 0, answers: 0 };
  let isStorageFaulty = false;
  let isCheckpointLost = false;
  const audit = (event: AuditEvent): void => {
    auditLog.write(event).catch((error: unknown) => {
      const isKept = storageCauseOf(error) !== null && late.length < mostLate;
      // Those of strangers wait as a rule while the disk is full: nobody is to be woken by them.
      if (!isKept || event.action !== 'refuse') metrics.auditWriteFailed();
      if (isKept) late.push(event);
      else lost.entries += 1;
      logger[isKept ? 'warn' : 'error'](
        { err: error, action: event.action, subject: event.subject },
        isKept ? 'an audit entry waits until it can be written' : 'an audit entry could not be written',
      );
    });
  };
  /** A flood must fill neither the audit log nor this one: what repeats is counted, and the next entry says how often. */
  const refusal = (
    refused: AuditRefusal,
    fields: Readonly<Record<string, unknown>>,
    change: Partial<Pick<AuditEvent, 'actor' | 'action'>> = {},
    level: 'warn' | 'error' = 'warn',
  ): void => {
    const { event, isRepeated } = auditLog.note(refused, now());
    logger[isRepeated ? 'debug' : level](
      { code: refused.code, ...fields, ...event?.detail },
      outsideText(refused.text),
    );
    if (event !== null) audit({ ...event, ...change });
  };
  const named = new Set<string>();
  const namedSources = new Sparingly();
  const gateOpenings = new GateOpenings();
  let inForce: string | null = null;
  const fault: Reporter['fault'] = (error, where) => {
    if (isStorageFaulty && storageCauseOf(error) !== null) {
      logger.debug({ err: error, where }, 'the server failed');
      return;
    }
    logger.error({ err: error, where }, 'the server failed');
  };
  const report: Reporter = {
    marking: createMarkingReport({ logger, metrics, now, refusal, fault }),
    presence: createPresenceReport(logger, fault),
    webhook: {
      delivered: metrics.webhook.delivered,
      failing: (text) => logger.warn(`the webhook was not told of what happened: ${text}; it is tried again`),
      works: (dropped) =>
        logger[dropped > 0 ? 'warn' : 'info']({ dropped }, 'the webhook takes messages again'),
      fault,
    },

    answered({ reasons }) {
      metrics.attested('accepted', reasons[0]?.code ?? null);
      for (const { severity, aspect } of reasons) if (severity === 'fail') metrics.checkFailed(aspect);
    },

    recorded(entry, from) {
      const { state, reasons } = entry.verdict;
      const code = reasons[0]?.code ?? null;
      if (from !== null && from !== state) metrics.transition(from, state);
      const fields = { node: entry.node, state, from, code, codes: reasons.map((reason) => reason.code) };
      if (from === state) logger.debug(fields, 'verdict');
      else
        logger[state === 'untrusted' ? 'warn' : 'info'](fields, reasons[0]?.text ?? `the node is ${state}`);
      recorded(entry);
    },

    gateOpened({ node, why, boot, ...others }) {
      if (!gateOpenings.isNew(node, `${why} ${boot}`, now())) return;
      metrics.gateOpened(why);
      const detail = { why, boot, ...others };
      logger.info({ node, ...detail }, 'the gate of the node is open');
      audit({ at: now(), actor: 'server', action: 'gate.open', subject: node, code: null, detail });
    },

    gateSaid(node, { why, bootId, reason }) {
      if (!gateOpenings.isNew(node, `${why} ${bootId}`, now())) return;
      metrics.gateOpened(why);
      const detail = { why, bootId, reason: outsideText(reason) };
      logger.warn({ node, ...detail }, 'the gate of the node opened by itself, as the node says');
      const actor = `agent:${node}`;
      audit({ at: now(), actor, action: 'gate.open', subject: node, code: null, detail });
    },

    refused(code, text, about) {
      metrics.refused(code);
      metrics.attested('rejected', code);
      const { node, address } = about;
      refusal({ ...about, code, text }, { node, address });
    },

    turnedAway(port, bound, source) {
      metrics.turnedAway(port, bound);
      const omitted = namedSources.take(`${port} ${bound} ${source}`, now());
      if (omitted !== null)
        logger.warn({ port, bound, source, omitted }, 'a source reached a limit of connections');
    },

    alert({ code, text, node, actor, isEnrolled }) {
      metrics.refused(code);
      refusal({ code, text, node, isEnrolled, ...whoIs(actor) }, { node, actor }, { actor });
    },

    policyInForce({ name, revision }) {
      const subject = policyLabel({ name, revision });
      metrics.policyChanged(name, now() / 1000);
      if (subject === inForce) return;
      logger.info({ policy: subject, before: inForce }, 'another policy is in force');
      audit({
        at: now(),
        actor: 'server',
        action: 'policy.load',
        subject,
        code: null,
        detail: { before: inForce },
      });
      inForce = subject;
    },

    policyCompared({ name, revision }, nodes) {
      const changed = nodes.filter((each) => each.changed);
      const untrusted = changed.filter(turnsUntrusted);
      const fields = {
        policy: policyLabel({ name, revision }),
        nodes: nodes.length,
        unjudged: nodes.filter(({ after }) => after === null).length,
        changed: changed.length,
        untrusted: untrusted.length,
        named: [...new Set([...untrusted, ...changed])].slice(0, mostNodes).map(({ node }) => node),
      };
      const text = `on the latest evidence, the new policy changes the verdict of ${changed.length} of ${nodes.length} nodes; ${untrusted.length} turn untrusted`;
      logger[untrusted.length > 0 ? 'warn' : 'info'](fields, text);
    },

    notReloaded(part, text) {
      metrics.reloadFailed(part);
      // Of a file with many faults the log has all; the audit log says that it was refused, and the first of them.
      audit({
        at: now(),
        actor: 'server',
        action: 'reload.refuse',
        subject: part,
        code: null,
        detail: { text: text.slice(0, 1000) },
      });
    },

    certificateRenewed(before, until) {
      const detail = { before: new Date(before).toISOString(), until: new Date(until).toISOString() };
      logger.info(detail, 'the server made itself a new certificate');
      audit({
        at: now(),
        actor: 'server',
        action: 'certificate.renew',
        subject: 'server',
        code: null,
        detail,
      });
    },

    certificateNotRenewed(error, until) {
      metrics.renewalFailed();
      logger.error(
        { err: error, until: new Date(until).toISOString() },
        'the certificate of the server is due for renewal, but could not be renewed: the server keeps the old one',
      );
    },

    stateWasOpened({ group, paths }) {
      const fields = {
        code: 'state_was_opened',
        group,
        count: paths.length,
        paths: paths.slice(0, mostNodes),
      };
      logger.warn(
        fields,
        `the group ${group} of the volume could read and change ${paths.length} private files and folders of the state, keys among them, until this start: set fsGroupChangePolicy to OnRootMismatch (docs/kubernetes.md#the-state-of-a-pod)`,
      );
    },

    denied(code, text, actor) {
      metrics.refused(code);
      refusal({ code, text, node: null, isEnrolled: false, ...whoIs(actor) }, { actor }, { actor });
    },

    signatureChecked: metrics.signatureChecked,
    checkpointed: metrics.checkpointed,

    rolledBack(text) {
      metrics.refused('audit_rollback');
      logger.error({ code: 'audit_rollback', where: 'store' }, text);
    },

    contradicted(node, text) {
      metrics.refused('audit_rollback');
      const about = {
        code: 'audit_rollback',
        node,
        isEnrolled: true,
        address: 'witness',
        isProven: true,
      } as const;
      // Whoever has such a checkpoint can show it as often as he likes.
      refusal(
        { ...about, text },
        { node, where: 'hello' },
        { actor: `agent:${node}`, action: 'audit_rollback' },
        'error',
      );
    },

    contradictedByCluster(text) {
      metrics.refused('audit_rollback');
      const about = {
        code: 'audit_rollback',
        node: null,
        isEnrolled: false,
        address: 'cluster',
        isProven: true,
      } as const;
      refusal(
        { ...about, text },
        { where: 'cluster' },
        { actor: 'cluster', action: 'audit_rollback' },
        'error',
      );
    },

    checkpointKept(error) {
      metrics.checkpointKept(error === null);
      if (error === null) isCheckpointLost = false;
      else if (!isCheckpointLost) {
        isCheckpointLost = true;
        logger.warn(
          { err: error },
          `the latest checkpoint of the audit log is not kept in the cluster: ${error.message}; it is tried again`,
        );
      }
    },

    failed(error, about) {
      metrics.attested('fault', null);
      const cause = storageCauseOf(error);
      if (cause !== null) {
        // Why, and since when, is in the log once: it may be on the same disk.
        lost.answers += 1;
        logger.debug({ node: about.node, cause }, 'the answer of a node is not stored');
        return;
      }
      metrics.serverFailed('internal');
      logger.error({ err: error, node: about.node }, 'the server failed while judging; no verdict is stored');
    },

    unreadable(row) {
      const name = `${row.table} ${row.key}`;
      const isNew = !named.has(name) && named.size < mostNamed;
      logger[isNew ? 'error' : 'debug']({ err: row }, 'a row of the store cannot be read and is left out');
      if (!isNew) return;
      named.add(name);
      metrics.rowUnreadable(row.table);
      const detail = { text: outsideText(row.message) };
      audit({ at: now(), actor: 'server', action: 'store.unreadable', subject: name, code: null, detail });
    },

    storageFailed(cause, error, isNew) {
      metrics.serverFailed(cause);
      metrics.storage(cause);
      isStorageFaulty = true;
      if (isNew) logger.error({ code: 'server_fault', cause, err: error }, faultText(cause));
    },

    storageWorks({ cause, since }) {
      metrics.storage(null);
      isStorageFaulty = false;
      logger.info({ cause, since: new Date(since).toISOString(), ...lost }, 'verdicts are stored again');
      const detail = { cause, since, answers: lost.answers, late: late.length, lost: lost.entries };
      Object.assign(lost, { entries: 0, answers: 0 });
      audit({
        at: now(),
        actor: 'server',
        action: 'server.fault',
        subject: '',
        code: 'server_fault',
        detail,
      });
      for (const event of late.splice(0)) audit(event);
    },

    fault,
  };
  return {
    report,
    auditTo(next) {
      auditLog = next;
      for (const event of waiting.splice(0)) audit(event);
    },
  };
}

/** Who acts, as the audit log names him: a person or program with a token, or an address, which proves nothing. */
function whoIs(actor: string): Pick<AuditRefusal, 'address' | 'isProven'> {
  return { address: actor.replace(/^address:/, ''), isProven: /^(token|kubernetes):/.test(actor) };
}
