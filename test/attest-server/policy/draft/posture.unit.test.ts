import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { observationsAnswer } from '../../../../attest-server/api/policy-api.ts';
import { atOnce } from '../../../../attest-server/formats/in-steps.ts';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { captureReferencesInSteps } from '../../../../attest-server/policy/capture.ts';
import { observe } from '../../../../attest-server/policy/draft/observation.ts';
import { postureObserver } from '../../../../attest-server/policy/draft/posture.ts';
import { suggestPolicy } from '../../../../attest-server/policy/draft/suggest.ts';
import { checkPolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { groupOf } from '../../../../attest-server/policy/policy.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import type { Facts } from '../../../../attest-server/wire/facts.ts';
import { provenFolder } from '../../../recorded/judged-folder.ts';
import { provenByHand } from '../../verify/made-by-hand.ts';
import { policyOf } from '../made-proof.ts';

const nodes = join(import.meta.dirname, '../../../../swtpm-fixtures/recorded-nodes');
const at = Date.parse('2026-11-25T12:00:00Z');
const group = groupOf(policyOf(), 'worker-1', {});
const firewall = (folder: string) => provenFolder('firewall', join(nodes, 'firewall', folder));
const disk = (folder: string) => provenFolder('disk', join(nodes, 'disk', folder));

function hosted(proven: Proven, host: NonNullable<Facts['host']>): Proven {
  return provenByHand(proven, { facts: proven.facts && { ...proven.facts, host } });
}

/** What a client gets of the server, and makes of it. */
function drafted(proofs: readonly Proven[], references: readonly Reference[] = []) {
  const postureOf = postureObserver(references, at);
  const items = proofs.map((proven, index) => {
    const name = `worker-${index + 1}`;
    const node = { name, tpmClass: 'discrete', manufacturer: null } as const;
    return observe(proven, node, undefined, atOnce(postureOf(proven, name, group)));
  });
  const sent = observationsAnswer.parse(JSON.parse(JSON.stringify({ items, unseen: [], next: null })));
  const text = suggestPolicy({ observations: sent.items, unseen: [], withoutTpm: [] });
  const { policy, warnings } = checkPolicy(text, 'draft.yaml');
  assert.deepEqual(warnings, []);
  const [first] = policy.groups;
  return { text, group: first ?? assert.fail() };
}

describe('what is drafted for disks', () => {
  it('is the paths that are encrypted today, and they are required', async () => {
    const { group, text } = drafted([await disk('01-luks2'), await disk('14-luks2-partition')]);
    assert.deepEqual(group.rules.disk.paths, [{ path: '/var/lib/docker', required: true }]);
    assert.deepEqual([group.require, group.mode], [['identity', 'disk'], 'observe']);
    assert.match(text, /^ {4}disk: \{ paths: \[ \/var\/lib\/docker \] \}$/m);
  });

  it('stands in a comment where a node would fail, and names the node', async () => {
    const { group, text } = drafted([await disk('01-luks2'), await disk('02-plain-ext4')]);
    assert.deepEqual(group.require, ['identity']);
    assert.match(text, /^ {4}# disk: \{ paths: \[ \/var\/lib\/docker \] \}/m);
    assert.match(text, /NOT encrypted on worker-2: \/var\/lib\/docker$/m);
  });
});

describe('what is drafted for firewalls', () => {
  it('is how to capture a baseline, before there is one', async () => {
    const { group, text } = drafted([await firewall('fw-01-worker-iptables-nft')]);
    assert.deepEqual(group.require, ['identity']);
    assert.match(text, /assay reference capture worker-1 --kind firewall --name NAME$/m);
    assert.match(text, /^ {4}# firewall: \{ baseline: NAME \}/m);
  });

  it('is the reference whose rules all nodes have', async () => {
    const worker = await firewall('fw-01-worker-iptables-nft');
    const about = { name: 'workers', state: 'active', by: 'ann', at, only: null } as const;
    const references = atOnce(
      captureReferencesInSteps('firewall', [{ node: 'worker-1', proven: worker }], group, about),
    );
    const same = drafted([worker, worker], references).group;
    assert.deepEqual([same.rules.firewall.baseline, same.require], [['workers'], ['identity', 'firewall']]);
    const other = drafted([worker, await firewall('fw-02-worker-ssh-open')], references);
    assert.deepEqual(other.group.require, ['identity']);
    assert.match(other.text, /other rules: worker-2$/m);
  });
});

describe('what is drafted for hosts', () => {
  const closed = {
    kernel: '6.12.48+deb13-amd64',
    tainted: 0,
    listening: [10250],
    ssh: { ports: [], sockets: [], daemons: [] },
  };

  it('is the oldest kernel that was seen, and SSH closed where it is', async () => {
    const proven = await disk('01-luks2');
    const { group } = drafted([
      hosted(proven, closed),
      hosted(proven, { ...closed, kernel: '6.12.41-amd64' }),
    ]);
    assert.deepEqual(
      [group.rules.host.minimumKernel?.text, group.rules.host.ssh, group.require.includes('host')],
      ['6.12.41', 'closed', true],
    );
  });

  it('says where SSH listens', async () => {
    const proven = await disk('01-luks2');
    const { text } = drafted([hosted(proven, closed), hosted(proven, { ...closed, listening: [22] })]);
    assert.match(text, /SSH listens on worker-2$/m);
  });
});
