import type { AuditRefusal } from '../audit/refusals.ts';
import type { ChannelPorts } from '../channel/ports.ts';
import type { Figures } from '../telemetry/figures.ts';
import type { Reporting } from '../telemetry/reporting.ts';
import { gateOpenings } from '../wire/gate.ts';
import { outsideText } from '../wire/printable.ts';
import { classOf, type ReasonCode, reasonCodes } from '../wire/reasons.ts';
import { aspects, nodeStates } from '../wire/verdict.ts';
import { GateOpenings } from './gate-openings.ts';
import type { Attest } from './open.ts';
import type { AttestPorts, HistoryEntry } from './ports.ts';

/** Reports of the outcome of answers. */
export interface AttestReport
  extends Pick<AttestPorts, 'duration' | 'answered' | 'recorded' | 'gateOpened'>,
    Pick<ChannelPorts<unknown>, 'failed'> {
  /** An answer, or what came before one, was refused. @param about `isEnrolled`: a node has that name */
  refused(code: ReasonCode, text: string, about: Omit<AuditRefusal, 'code' | 'text'>): void;
  /** A gate says that it let its node go on by itself. */
  readonly gateSaid: ChannelPorts<unknown>['gateOpened'];
}

interface VerdictListeners {
  /** Called with every verdict once it is committed. */
  readonly recorded: (entry: HistoryEntry) => void;
  readonly failed: ChannelPorts<unknown>['failed'];
}

export function attestReport(reporting: Reporting, told: VerdictListeners): AttestReport {
  const { figures, logger, now, audit } = reporting;
  const durations = figures.histogram(
    'attestation_duration_seconds',
    'Time in each phase of an attestation',
    ['phase'],
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
  );
  const attestations = figures.counter(
    'attestations_total',
    'Pieces of evidence that the server answered, by result',
    ['result', 'reason'],
    [
      ...[...reasonCodes, 'none'].map((reason) => ({ result: 'accepted', reason })),
      // Drift and posture are found in a proof that holds.
      ...reasonCodes
        .filter((code) => classOf(code) === 'failed' || classOf(code) === 'service')
        .map((reason) => ({ result: 'rejected', reason })),
      { result: 'fault', reason: 'none' },
    ],
  );
  const checkFailures = figures.counter(
    'check_failures_total',
    'Verdicts in which a check failed',
    ['check'],
    aspects.map((check) => ({ check })),
  );
  const transitions = figures.counter(
    'verdict_transitions_total',
    'Changes of state',
    ['from', 'to'],
    nodeStates.flatMap((from) => nodeStates.filter((to) => to !== from).map((to) => ({ from, to }))),
  );
  const gatesOpened = figures.counter(
    'gate_openings_total',
    'Gates that let kubelet start, by why',
    ['why'],
    gateOpenings.map((why) => ({ why })),
  );
  const openings = new GateOpenings();
  return {
    duration: (phase, seconds) => durations.observe({ phase }, seconds),

    answered({ reasons }) {
      attestations.inc({ result: 'accepted', reason: reasons[0]?.code ?? 'none' });
      for (const { severity, aspect } of reasons)
        if (severity === 'fail') checkFailures.inc({ check: aspect });
    },

    recorded(entry, from) {
      const { state, reasons } = entry.verdict;
      const code = reasons[0]?.code ?? null;
      if (from !== null && from !== state) transitions.inc({ from, to: state });
      const fields = { node: entry.node, state, from, code, codes: reasons.map((reason) => reason.code) };
      if (from === state) logger.debug(fields, 'verdict');
      else
        logger[state === 'untrusted' ? 'warn' : 'info'](fields, reasons[0]?.text ?? `the node is ${state}`);
      told.recorded(entry);
    },

    refused(code, text, about) {
      attestations.inc({ result: 'rejected', reason: code });
      const { node, address } = about;
      reporting.refused({ ...about, code, text }, { node, address });
    },

    failed(error, about) {
      attestations.inc({ result: 'fault', reason: 'none' });
      told.failed(error, about);
    },

    gateOpened({ node, why, boot, ...others }) {
      if (!openings.isNew(node, `${why} ${boot}`, now())) return;
      gatesOpened.inc({ why });
      const detail = { why, boot, ...others };
      logger.info({ node, ...detail }, 'the gate of the node is open');
      audit('gate.open', node, detail);
    },

    gateSaid(node, { why, bootId, reason }) {
      if (!openings.isNew(node, `${why} ${bootId}`, now())) return;
      gatesOpened.inc({ why });
      const detail = { why, bootId, reason: outsideText(reason) };
      logger.warn({ node, ...detail }, 'the gate of the node opened by itself, as the node says');
      audit('gate.open', node, detail, { actor: `agent:${node}` });
    },
  };
}

/** Gauges that are read at each scrape. */
export function attestFigures(
  figures: Figures,
  attest: Pick<Attest, 'initrdFigures' | 'judgingFigures'>,
): void {
  figures.sampled(
    'initrds_waiting',
    'Initrds that nodes booted and that the server does not have yet',
    () => attest.initrdFigures().waiting,
  );
  figures.sampled(
    'initrd_manifest_bytes',
    'Bytes of what is kept of initrds',
    () => attest.initrdFigures().kept,
  );
  figures.sampled(
    'initrd_received_bytes_total',
    'Bytes of initrds that nodes sent',
    () => attest.initrdFigures().received,
  );
  figures.sampled(
    'nodes_over_judging_share',
    'Nodes that have spent what judging them may cost, and are asked later',
    () => attest.judgingFigures().spent,
  );
  figures.sampled(
    'heavy_answers_waiting',
    'Answers that take long to judge and wait for a turn',
    () => attest.judgingFigures().waiting,
  );
}
