import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import {
  chainOwners,
  declaredChain,
  isHostChain,
  ownerOfChain,
  ownerOfTable,
  withoutIds,
} from '../../../attest-server/wire/owned-chains.ts';

describe('a chain of a declared owner', () => {
  for (const [chain, owner, as] of [
    ['KUBE-SERVICES', 'kube-proxy', 'KUBE-SERVICES'],
    ['KUBE-SVC-TCOU7JCQXEZGVUNU', 'kube-proxy', 'KUBE-SVC-*'],
    ['KUBE-SEP-IT2ZTR26TO4XFPTO', 'kube-proxy', 'KUBE-SEP-*'],
    ['KUBE-FIREWALL', 'kube-proxy', 'KUBE-FIREWALL'],
    ['KUBE-ROUTER-INPUT', 'kube-router', 'KUBE-ROUTER-INPUT'],
    ['KUBE-POD-FW-ABCDEFGHIJKLMNOP', 'kube-router', 'KUBE-POD-FW-*'],
    ['cali-FORWARD', 'calico', 'cali-FORWARD'],
    ['cali-fhfw-eth0', 'calico', 'cali-fhfw-eth0'],
    ['cali-from-wl-dispatch', 'calico', 'cali-from-wl-dispatch'],
    ['cali-pi-default.workers', 'calico', 'cali-pi-*'],
    ['cali-tw-cali0123456789a', 'calico', 'cali-tw-*'],
    ['CILIUM_FORWARD', 'cilium', 'CILIUM_FORWARD'],
    ['FLANNEL-FWD', 'flannel', 'FLANNEL-FWD'],
    ['CNI-0123456789abcdef01234567', 'cni', 'CNI-*'],
    ['CNI-DN-0123456789abcdef01234', 'cni', 'CNI-DN-*'],
    ['CNI-HOSTPORT-DNAT', 'cni', 'CNI-HOSTPORT-DNAT'],
    ['DOCKER', 'docker', 'DOCKER'],
    ['DOCKER-ISOLATION-STAGE-1', 'docker', 'DOCKER-ISOLATION-STAGE-1'],
  ] as const)
    it(`is ${chain}, of ${owner}`, () => {
      assert.deepEqual(ownerOfChain('ip', 'filter', chain), { owner, as });
    });

  for (const chain of [
    'INPUT',
    'DOCKER-USER',
    'DOCKERS',
    'xKUBE-SERVICES',
    'kube-services',
    'Cali-INPUT',
    '',
  ])
    it(`is not ${chain || 'one without a name'}`, () => {
      assert.equal(ownerOfChain('ip', 'filter', chain), null);
    });

  for (const chain of [
    'cali-INPUT',
    'cali-OUTPUT',
    'cali-failsafe-in',
    'cali-failsafe-out',
    'cali-from-host-endpoint',
    'cali-from-host-endpoint-e',
    'cali-fh-eth0',
    'cali-th-any-interface-at-all',
  ])
    it(`is sent with its rules where a host endpoint of Calico is: ${chain}`, () => {
      assert.deepEqual(
        [
          isHostChain('ip', 'filter', chain),
          isHostChain('ip6', 'calico', `filter-${chain}`),
          ownerOfChain('ip', 'filter', chain),
          declaredChain('ip', 'filter', chain)?.owner,
        ],
        [true, true, null, 'calico'],
      );
      assert.deepEqual(
        [
          isHostChain('ip', 'raw', chain),
          isHostChain('ip', 'calico', chain),
          isHostChain('inet', 'filter', chain),
        ],
        [false, false, false],
      );
      assert.equal(ownerOfChain('ip', 'raw', chain)?.owner, 'calico');
    });

  it('is of one whom the list names once', () => {
    const owners = chainOwners.map(({ owner }) => owner);
    assert.equal(new Set(owners).size, owners.length);
  });

  it('is in a table of iptables, for IPv4 or IPv6', () => {
    assert.equal(ownerOfChain('inet', 'filter', 'KUBE-SERVICES'), null);
    assert.equal(ownerOfChain('ip', 'mine', 'KUBE-SERVICES'), null);
    assert.equal(ownerOfChain('ip6', 'nat', 'KUBE-SERVICES')?.owner, 'kube-proxy');
  });

  it('may be any of a table that is the owner’s alone', () => {
    assert.deepEqual(
      [ownerOfTable('ip', 'kube-proxy'), ownerOfTable('ip6', 'calico'), ownerOfTable('inet', 'kube-proxy')],
      ['kube-proxy', 'calico', null],
    );
  });
});

describe('a comment', () => {
  for (const [comment, without] of [
    ['cali:Cz_u1IQiXIMmKD4c', 'cali:*'],
    ['"cali:Cz_u1IQiXIMmKD4c" x', '"cali:*" x'],
    ['cali:Cz_u1IQiXIMmKD4cX', 'cali:Cz_u1IQiXIMmKD4cX'],
    [`name: "n" id: "${'0a'.repeat(32)}"`, 'name: "n" id: "*"'],
    ['0a'.repeat(33), '0a'.repeat(33)],
    ['no metadata service', 'no metadata service'],
  ] as const)
    it(`${comment} is compared as ${without}`, () => {
      assert.equal(withoutIds(comment), without);
    });
});
