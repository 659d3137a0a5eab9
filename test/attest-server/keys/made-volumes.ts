import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { openWrappingKeys } from '../../../attest-server/custody/wrapping-keys.ts';
import type { EnrolledNode } from '../../../attest-server/enrolment/ports.ts';
import { type Keys, openKeys } from '../../../attest-server/keys/open.ts';
import type { KeptHeader, WrappingKeys } from '../../../attest-server/keys/ports.ts';
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
  readonly hasLease: Keys['hasLease'];
  readonly volumes: Keys['volumes'];
  readonly store: Store;
  /** The file of the store. */
  readonly database: string;
  /** Null: the server has none. */
  readonly wrapping: WrappingKeys | null;
  readonly wrappingKeyFile: string;
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
  const wrapping = holdsKeys ? openWrappingKeys({ file, beside: [] }) : null;
  const keys = await openKeys({
    store: store.leases,
    wrapping,
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
    hasLease: keys.hasLease,
    volumes: keys.volumes,
    store,
    database,
    wrapping,
    wrappingKeyFile: file,
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

/** A volume that its node formatted, with its key. */
export interface LeasedVolume {
  readonly uuid: string;
  readonly key: Buffer;
}

/** Makes a volume that its node has formatted. */
export async function leaseVolume(
  { leases }: Store,
  wrapping: WrappingKeys,
  { node, ekDigest }: { readonly node: string; readonly ekDigest: string },
): Promise<LeasedVolume> {
  const [uuid, key, at] = [randomUUID(), randomBytes(32), Date.now()];
  const headerDigest = 'ab'.repeat(32);
  const context = { node, ekDigest, volume: uuid };
  await leases.add(
    {
      ...{ node, uuid, ekDigest, name: 'docker', path: '/var/lib/docker', createdAt: at, createdBy: 'me' },
      key: wrapping.wrap(key, { ...context, purpose: 'volume' }),
      recovery: wrapping.wrap(randomBytes(47), { ...context, purpose: 'recovery' }),
      recoveryEscrow: Buffer.alloc(300),
      recipients: [],
    },
    madeEvent('volume.add', node),
  );
  await leases.keepHeader(madeHeader({ uuid, headerDigest, escrow: Buffer.alloc(300) }));
  await leases.formatted({ uuid, headerDigest, formattedAt: at }, madeEvent('volume.format', node));
  return { uuid, key };
}
