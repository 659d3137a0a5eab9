import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { privilegesIn, privilegeTables } from './privileges.ts';

describe('the privileges of the chart', () => {
  it('are in docs/privileges.md with their reasons', async () => {
    const page = await readFile(join(import.meta.dirname, '../../docs/privileges.md'), 'utf8');
    assert.match(
      page,
      /\n`assay-agent`, container `tpm-broker`:\n\n.+\n.+\n\| privileged, user 0, group 0 \| .+ \| yes \|\n/,
    );
  });

  const pod = (spec: string) => `kind: Pod
metadata: { name: a, namespace: ns }
spec:
${spec}`;
  const role = (comment: string) => `kind: ClusterRole
metadata: { name: r }
rules:
  - { apiGroups: [""], resources: [pods], verbs: [get] }${comment}
  - { apiGroups: [apps], resources: [daemonsets], verbs: [list], resourceNames: [d] }
---
kind: ClusterRoleBinding
metadata: { name: r }
roleRef: { kind: ClusterRole, name: r }
subjects: [{ kind: ServiceAccount, name: s, namespace: ns }]
`;

  const cases: readonly (readonly [what: string, text: string, missing: string])[] = [
    [
      'the network of the host',
      pod('  hostNetwork: true\n'),
      'Pod ns/a: `a`, each container: the network of the host',
    ],
    [
      'a token',
      pod('  automountServiceAccountToken: true\n'),
      'Pod ns/a: `a`, each container: a token for the API of the cluster',
    ],
    [
      'a path of the host',
      pod(
        '  volumes: [{ name: v, hostPath: { path: /etc } }]\n  containers: [{ name: c, volumeMounts: [{ name: v, mountPath: /etc, readOnly: true }] }]\n',
      ),
      'Pod ns/a: `a`, container `c`: read `/etc` of the host',
    ],
    [
      'a user',
      pod('  containers:\n    - name: c\n      securityContext: { runAsUser: 0, privileged: true }\n'),
      'Pod ns/a: `a`, container `c`: privileged, user 0',
    ],
    [
      'a capability',
      pod('  containers:\n    - name: c\n      securityContext: { capabilities: { add: [SYS_ADMIN] } }\n'),
      'Pod ns/a: `a`, container `c`: `CAP_SYS_ADMIN`',
    ],
    [
      'a right',
      role('').replace('rules:\n', 'rules:\n  # why: b\n'),
      'ClusterRole r: Account `s`: list `daemonsets.apps` called `d`',
    ],
  ];
  for (const [what, text, missing] of cases)
    it(`are refused without a reason: ${what}`, () => {
      assert.throws(() => privilegesIn(text), {
        message: `no comment \`# why:\` is above these:\n${missing}`,
      });
    });

  it('are told with the reason that stands above them, over several lines too', () => {
    const text = role('\n  # Not this.\n  # why: lists them\n  # at night').replace(
      'rules:\n',
      'rules:\n  # why: reads pods\n',
    );
    assert.deepEqual(privilegesIn(text), [
      { who: 'Account `s`', may: 'get `pods`', why: 'reads pods' },
      { who: 'Account `s`', may: 'list `daemonsets.apps` called `d`', why: 'lists them at night' },
    ]);
  });

  it('are each one row in the table of its owner, which says whether it is there by default', () => {
    const [one, other, account] = [
      { who: 'a', may: 'b', why: 'c' },
      { who: 'a', may: 'd', why: 'e' },
      { who: 'Account `s`', may: 'f', why: 'g' },
    ];
    const head = ['', '| may | why | by default |', '|---|---|---|'];
    assert.deepEqual(privilegeTables([account, one], [account, one, other, other]).split('\n'), [
      ...['a:', ...head, '| b | c | yes |', '| d | e | no |', ''],
      ...['Account `s`:', ...head, '| f | g | yes |'],
    ]);
  });
});
