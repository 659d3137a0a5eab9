import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { openWrappingKeys } from '../../../attest-server/custody/wrapping-keys.ts';
import type { EnrolledNode } from '../../../attest-server/enrolment/ports.ts';
import { type Keys, openKeys } from '../../../attest-server/keys/open.ts';
import type { KeptHeader } from '../../../attest-server/keys/ports.ts';
import { capturedReference } from '../../../attest-server/policy/captured-reference.ts';
import { leasedName } from '../../../attest-server/policy/disk/leased-volume.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import { groupOf, type PolicyGroup } from '../../../attest-server/policy/policy.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';

/** The room of disk keys over a store in a folder of its own. */
export interface MadeVolumes extends AsyncDisposable {
  readonly decide: Keys['decide'];
  readonly volumes: Keys['volumes'];
  readonly store: Store;
  /** The file of the store. */
  readonly database: string;
  /** Opens all that was encrypted for recovery; age's own form. */
  readonly identity: string;
  /** The first has keys for nodes `node-*`, the second has none. */
  readonly groups: readonly PolicyGroup[];
  enrol(node: EnrolledNode): Promise<void>;
}

/** @param holdsKeys whether the server has a wrapping key */
export async function openMadeVolumes(now: () => number, holdsKeys = true): Promise<MadeVolumes> {
  const folder = mkdtempSync(join(tmpdir(), 'assay-volumes-'));
  const file = join(folder, 'wrapping.key');
  writeFileSync(file, randomBytes(32).toString('base64'), { mode: 0o400 });
  const identity = await generateIdentity();
  const policy = parsePolicy(
    [
      'apiVersion: assay.dev/v1\nkind: Policy\ngroups:',
      `  - {name: workers, nodes: ["node-*"], keys: {recoveryRecipients: [${await identityToRecipient(identity)}]}}`,
      '  - {name: others, nodes: ["*"]}\n',
    ].join('\n'),
    'keys',
  );
  const database = join(folder, 'state', 'assay.db');
  const store = await openMadeStore(database);
  const keys = await openKeys({
    store: store.leases,
    wrapping: holdsKeys ? openWrappingKeys({ file, beside: [] }) : null,
    ownNode: 'node-0',
    exemptions: async () => [],
    groupOf: (node) => groupOf(policy, node),
    async referencesChanged() {},
    now,
    report: {
      released() {},
      refused() {},
      otherHeader() {},
      rewrapped() {},
      fault(error) {
        throw error;
      },
    },
  });
  return {
    decide: keys.decide,
    volumes: keys.volumes,
    store,
    database,
    identity,
    groups: policy.groups,
    enrol: (node) => store.enrolment.enrol(node, madeEvent('enrol', node.name)),
    async [Symbol.asyncDispose]() {
      await keys[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    },
  };
}

/** What is kept of the header of a volume, by its digest and what age made of it. */
export function madeHeader(
  kept: Pick<KeptHeader, 'uuid' | 'headerDigest' | 'escrow'> & Partial<KeptHeader>,
): KeptHeader {
  const objects = { keyslots: {}, tokens: {}, segments: {}, digests: {} };
  const volumes = [{ version: 2 as const, uuid: kept.uuid, ...objects, path: '/var/lib/docker' }];
  const label = { name: leasedName(kept.uuid), state: 'active', group: { name: 'workers' } } as const;
  const by = { node: 'node-1', by: 'server', at: 1000 };
  const recipients = ['age1of-a-person'];
  return {
    recoverySlotDigest: 'ba'.repeat(32),
    recipients,
    ...kept,
    reference: capturedReference({ kind: 'disk', disk: { volumes } }, { ...label, ...by }),
  };
}
