/**
 * Reference values over their life (`life`): `capture`, import, approve, announce, retire, revoke, restore; and
 * what nodes show and none has, with the command for each (`candidates`); and whether they know what a node would
 * boot next (`next-boots`).
 */

import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { ReferenceCandidates } from '../api/candidates-api.ts';
import { isAnnounced } from '../formats/reference.ts';
import type { PresenceRoom } from '../presence/open.ts';
import { type CandidateFilter, type SharedUnknown, sharedWith } from './alike-nodes.ts';
import { type CandidatePorts, gatherCandidates } from './candidates.ts';
import { type Capture, type CapturePorts, createCapture } from './capture.ts';
import { createReferenceLife, type ReferenceLife, type ReferenceParts } from './life.ts';
import { type NextBootPorts, NextBoots } from './next-boots.ts';

export interface ReferencesConfig {
  /** Whether who captured a reference may not approve it. */
  readonly separateApprovals: boolean;
  /** How long a verdict holds without a new one, in milliseconds. */
  readonly unknownAfter: number;
}

export interface ReferencesParts extends Omit<CapturePorts, 'separate' | 'unknownAfter'> {
  readonly store: CapturePorts['store'] & ReferenceParts['store'];
  readonly policy: ReferenceParts['policy'];
  readonly changed: ReferenceParts['changed'];
  readonly directory: ReferenceParts['directory'];
  readonly fault: (error: unknown, where: string) => void;
  readonly statuses: () => readonly (ReturnType<CandidatePorts['statuses']>[number] &
    ReturnType<NextBootPorts['statuses']>[number])[];
  readonly readPart: NextBootPorts['readPart'];
  readonly hasLease: NextBootPorts['hasLease'];
  readonly hasOpened: NextBootPorts['hasOpened'];
  readonly inForce: NextBootPorts['inForce'];
  readonly presence: Pick<PresenceRoom, 'present'>;
  readonly logger: Logger;
}

/** Milliseconds between two looks for announcements that have ended. */
const lookEvery = 1000;

/** Reference values, from capture or import to retirement. */
export interface References extends AsyncDisposable {
  readonly life: ReferenceLife;
  readonly capture: Capture['capture'];
  /** The references that a capture would make; none is stored. */
  readonly draft: Capture['draft'];
  /** Findings of nodes that no reference in force has. */
  candidates(filter: CandidateFilter): Promise<ReferenceCandidates>;
  /** A finding that others of the group share with this node, and no reference in force has; null if nothing of it is unknown. */
  shared(node: string, group: string): SharedUnknown | null;
  /** Forecasts of the next boot, by node. */
  nextBoots: NextBoots['by'];
}

export function openReferences(
  { separateApprovals, unknownAfter }: ReferencesConfig,
  parts: ReferencesParts,
): References {
  const ports = {
    ...parts,
    separate: separateApprovals,
    unknownAfter,
    statuses: () => parts.presence.present(parts.statuses()),
  };
  const { capture, draft } = createCapture(ports);
  const nextBoots = new NextBoots(ports);
  const ended = endedAnnouncements(parts);
  const inTurn = pLimit(1);
  // Nodes are judged again when an announcement ends: until their next answers they would show what no longer holds.
  const timer = setInterval(() => {
    if (inTurn.activeCount + inTurn.pendingCount > 0) return;
    inTurn(async () => {
      if (await ended()) await parts.changed();
    }).catch((error: unknown) => parts.fault(error, 'announcements'));
  }, lookEvery);
  return {
    life: createReferenceLife(ports),
    async capture(request) {
      const made = await capture(request);
      const { nodes, kind, actor } = request;
      parts.logger.info(
        { nodes, kind, references: made.map(({ name }) => name), actor },
        'nodes were captured',
      );
      return made;
    },
    draft,
    candidates: (filter) => gatherCandidates(ports, filter),
    shared: (node, group) => sharedWith(node, ports.statuses(), group),
    nextBoots: (node) => nextBoots.by(node),
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await inTurn(() => {});
    },
  };
}

/** Tells whether an announcement has ended since it was asked last. */
function endedAnnouncements({ store, now }: Pick<ReferencesParts, 'store' | 'now'>): () => Promise<boolean> {
  let before = now();
  return async () => {
    const at = now();
    const references = await store.list();
    const some = references.some((one) => isAnnounced(one, before) && !isAnnounced(one, at));
    before = at;
    return some;
  };
}
