import type { ChannelPorts } from '../channel/ports.ts';
import type { MarkingParts } from '../marking/open.ts';
import { turnsUntrusted } from '../protocol/policy-api.ts';
import { policyLabel } from '../protocol/policy-label.ts';
import { outsideText } from '../protocol/printable.ts';
import { faultText, type StorageCause, storageCauseOf } from '../protocol/server-fault.ts';
import type { NodeState } from '../protocol/verdict.ts';
import type { WebhookParts } from '../webhook/open.ts';
import { createMarkingReport } from './marking-report.ts';
import type { Metrics, ReloadedPart } from './metrics.ts';
import type { Reporting } from './reporting.ts';

export interface Reporter extends Pick<ChannelPorts<unknown>, 'failed'> {
  readonly marking: MarkingParts['report'];
  readonly webhook: WebhookParts['report'];
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

/** How many unreadable rows are reported: each of them once. */
const mostNamed = 1000;

/** What each event does to the metrics, the log and the audit log. */
export function createReporter(reporting: Reporting, metrics: Metrics): Reporter {
  const { logger, now, audit, refused, countRefusal, fault, storage } = reporting;
  let lostAnswers = 0;
  let isCheckpointLost = false;
  const named = new Set<string>();
  let inForce: string | null = null;
  return {
    marking: createMarkingReport({ logger, metrics, now, refused, fault }),
    webhook: {
      delivered: metrics.webhook.delivered,
      failing: (text) => logger.warn(`the webhook was not told of what happened: ${text}; it is tried again`),
      works: (dropped) =>
        logger[dropped > 0 ? 'warn' : 'info']({ dropped }, 'the webhook takes messages again'),
      fault,
    },

    policyInForce({ name, revision }) {
      const subject = policyLabel({ name, revision });
      metrics.policyChanged(name, now() / 1000);
      if (subject === inForce) return;
      logger.info({ policy: subject, before: inForce }, 'another policy is in force');
      audit('policy.load', subject, { before: inForce });
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
      audit('reload.refuse', part, { text: text.slice(0, 1000) });
    },

    certificateRenewed(before, until) {
      const detail = { before: new Date(before).toISOString(), until: new Date(until).toISOString() };
      logger.info(detail, 'the server made itself a new certificate');
      audit('certificate.renew', 'server', detail);
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

    checkpointed: metrics.checkpointed,

    rolledBack(text) {
      countRefusal('audit_rollback');
      logger.error({ code: 'audit_rollback', where: 'store' }, text);
    },

    contradicted(node, text) {
      const about = {
        code: 'audit_rollback',
        node,
        isEnrolled: true,
        address: 'witness',
        isProven: true,
      } as const;
      // Whoever has such a checkpoint can show it as often as he likes.
      refused(
        { ...about, text },
        { node, where: 'hello' },
        { actor: `agent:${node}`, action: 'audit_rollback' },
        'error',
      );
    },

    contradictedByCluster(text) {
      const about = {
        code: 'audit_rollback',
        node: null,
        isEnrolled: false,
        address: 'cluster',
        isProven: true,
      } as const;
      refused(
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
      const cause = storageCauseOf(error);
      if (cause !== null) {
        // Why, and since when, is in the log once: it may be on the same disk.
        lostAnswers += 1;
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
      audit('store.unreadable', name, detail);
    },

    storageFailed(cause, error, isNew) {
      metrics.serverFailed(cause);
      metrics.storage(cause);
      storage.begins();
      if (isNew) logger.error({ code: 'server_fault', cause, err: error }, faultText(cause));
    },

    storageWorks({ cause, since }) {
      metrics.storage(null);
      const { late, lost } = storage;
      const lasted = { cause, since: new Date(since).toISOString(), entries: lost, answers: lostAnswers };
      logger.info(lasted, 'verdicts are stored again');
      const detail = { cause, since, answers: lostAnswers, late, lost };
      audit('server.fault', '', detail, { code: 'server_fault' });
      lostAnswers = 0;
      storage.ends();
    },

    fault,
  };
}
