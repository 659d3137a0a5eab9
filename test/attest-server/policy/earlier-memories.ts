import type { AspectName } from '../../../attest-server/wire/verdict.ts';

/** What a store of 0.3.0, or soon after, remembered of nodes that broke the policy in one aspect, by the stories of against.unit.test.ts. */
export const earlierMemories: readonly {
  readonly aspect: AspectName;
  readonly what: string;
  readonly memory: Readonly<Record<string, unknown>>;
}[] = [
  {
    aspect: 'boot',
    what: 'booted another kernel',
    memory: {
      against: {
        boot: {
          code: 'kernel_unknown',
          aspect: 'boot',
          source: 'tpm',
          expected: '/vmlinuz sha256:fd09ba2d352b222ed9dc5e5446d434b821d5b7eae0ba030cdd078e903a85cfb9',
          actual: '/vmlinuz sha256:6799d7d7cdd351db2fed047dba6a7ab4f15f3093328a398cebb2a2927d8c61a0',
          text: 'The kernel has changed: event 39 in PCR 9 measured "/vmlinuz" with other content than in reference ref.',
          evidence: {
            digest: 'b2ade9687d15433a0212743d1f9430f6ebf1b7055d7cdde8b2f219999c81cdab',
            position: 'event 39',
          },
          value: 'kernel sha256:6799d7d7cdd351db2fed047dba6a7ab4f15f3093328a398cebb2a2927d8c61a0',
          reference: 'ref',
        },
      },
    },
  },
  {
    aspect: 'boot',
    what: 'has other PCRs, by values alone',
    memory: {
      against: {
        boot: {
          code: 'pcr_mismatch',
          aspect: 'boot',
          source: 'tpm',
          expected: 'PCR 4 sha256:db8bca5ce462b72b0dc6df2611f40a61fb008ec3d486c593846784e6dbc2889b',
          actual: 'PCR 4 sha256:2c175c9bd5cd88fdfbdc4dc11ed527f5079317dec1f949ef7da82ff486e3d87a',
          text: 'PCR 4 differs from reference ref, and no event of the boot log explains it. PCRs 9 differ as well.',
          evidence: null,
          reference: 'ref',
        },
      },
    },
  },
  {
    aspect: 'boot',
    what: 'may start another kernel, which the policy refuses',
    memory: {
      against: {
        boot: {
          code: 'kexec_possible',
          aspect: 'boot',
          source: 'host',
          expected: 'kernel.kexec_load_disabled = 1, or lockdown=integrity on the command line',
          actual: 'neither',
          text: 'The node says that its kernel may start another one (kexec). No TPM would see that.',
          evidence: null,
        },
      },
    },
  },
  {
    aspect: 'runtime',
    what: 'ran what is denied',
    memory: {
      runtime: {
        sent: true,
        since: { '15ef80d7e7bbd4d2': '2026-11-25T12:00:00.000Z' },
        against: {
          code: 'ima_denied_file',
          aspect: 'runtime',
          source: 'tpm',
          actual: '/tmp/evil sha256:b5c1fb2efc6d6b4674c2fdcc48ce01b43a3b7c03763c0c3355de0099ee0f8c73',
          evidence: {
            digest: 'b5c1fb2efc6d6b4674c2fdcc48ce01b43a3b7c03763c0c3355de0099ee0f8c73',
            position: 'entry 3',
          },
          expected: 'no file that the policy denies',
          text: 'The node ran or read a file that the policy denies: /tmp/evil.',
        },
      },
      against: {
        runtime: {
          code: 'ima_denied_file',
          aspect: 'runtime',
          source: 'tpm',
          expected: 'no file that the policy denies',
          actual: '/tmp/evil sha256:b5c1fb2efc6d6b4674c2fdcc48ce01b43a3b7c03763c0c3355de0099ee0f8c73',
          text: 'The node ran or read a file that the policy denies: /tmp/evil.',
          evidence: {
            digest: 'b5c1fb2efc6d6b4674c2fdcc48ce01b43a3b7c03763c0c3355de0099ee0f8c73',
            position: 'entry 3',
          },
          detail: [
            'entry 3: /tmp/evil sha256:b5c1fb2efc6d6b4674c2fdcc48ce01b43a3b7c03763c0c3355de0099ee0f8c73 (first seen 2026-11-25T12:00:00.000Z)',
          ],
        },
      },
    },
  },
  {
    aspect: 'runtime',
    what: 'measures less than the policy wants',
    memory: {
      runtime: {
        sent: true,
        since: {},
        against: {
          code: 'ima_policy_weak',
          aspect: 'runtime',
          source: 'tpm',
          expected: 'ima_policy=secure_boot on the command line, beside others',
          actual: 'ima_policy=tcb',
          text: 'The command line does not demand signed IMA policies, so that root can write one that is in no list.',
          evidence: null,
        },
      },
      against: {
        runtime: {
          code: 'ima_policy_weak',
          aspect: 'runtime',
          source: 'tpm',
          expected: 'ima_policy=secure_boot on the command line, beside others',
          actual: 'ima_policy=tcb',
          text: 'The command line does not demand signed IMA policies, so that root can write one that is in no list.',
          evidence: null,
        },
      },
    },
  },
  {
    aspect: 'disk',
    what: 'has containers on an open disk',
    memory: {
      disk: {
        volumes: ['uuid:849d564b958ce45cd11778c7b0fbdd96', 'key:9a5b6c90706e7fb162158416a31b173f'],
        against: {
          code: 'mount_not_encrypted',
          aspect: 'disk',
          source: 'host',
          expected: 'an encrypted volume',
          actual: '/var/lib/docker  ext4 on vde (254:64)',
          text: '/var/lib/docker is not encrypted: what is stored there can be read by whoever has the disk.',
          evidence: {
            digest: '2d876d87dd6bd2f0ba288930510ec09eaf80aa87b342fcf3ab2ccabe0d9cec7d',
            position: 'part',
          },
        },
      },
      against: {
        disk: {
          code: 'mount_not_encrypted',
          aspect: 'disk',
          source: 'host',
          expected: 'an encrypted volume',
          actual: '/var/lib/docker  ext4 on vde (254:64)',
          text: '/var/lib/docker is not encrypted: what is stored there can be read by whoever has the disk.',
          evidence: {
            digest: '2d876d87dd6bd2f0ba288930510ec09eaf80aa87b342fcf3ab2ccabe0d9cec7d',
            position: 'part',
          },
          detail: ['/var/lib/docker  ext4 on vde (254:64)', '└─ vde (254:64)'],
        },
      },
    },
  },
  {
    aspect: 'disk',
    what: 'encrypts nothing, as its kernel measured',
    memory: {
      disk: {
        volumes: ['uuid:849d564b958ce45cd11778c7b0fbdd96', 'key:9a5b6c90706e7fb162158416a31b173f'],
        against: {
          code: 'luks_null_cipher',
          aspect: 'disk',
          source: 'tpm',
          expected: 'a cipher that encrypts',
          actual: 'cipher_null-ecb',
          text: 'The mapping docker_crypt encrypts nothing: its cipher is cipher_null-ecb.',
          evidence: {
            digest: '0dd3bffdafd4c181ae6692be402df8d62bbf0f121e4a43bb3ff9f8658b19ffd3',
            position: 'part',
          },
        },
      },
      against: {
        disk: {
          code: 'luks_null_cipher',
          aspect: 'disk',
          source: 'tpm',
          expected: 'a cipher that encrypts',
          actual: 'cipher_null-ecb',
          text: 'The mapping docker_crypt encrypts nothing: its cipher is cipher_null-ecb.',
          evidence: {
            digest: '0dd3bffdafd4c181ae6692be402df8d62bbf0f121e4a43bb3ff9f8658b19ffd3',
            position: 'part',
          },
          detail: [
            '/var/lib/docker  ext4 on docker_crypt (dm-0, 253:0)',
            '└─ docker_crypt (dm-0, 253:0) crypt, LUKS2, cipher_null-ecb, 0 bit, as the kernel measured it',
            '   └─ vdd (254:48)',
          ],
        },
      },
    },
  },
  {
    aspect: 'firewall',
    what: 'is open',
    memory: {
      firewall: {
        against: {
          code: 'fw_policy_open',
          aspect: 'firewall',
          source: 'host',
          expected: 'closed, as in reference baseline',
          actual: 'iptables ip filter INPUT: policy drop in the baseline, hook input policy accept now',
          text: 'The node lets in what reference baseline keeps out.',
          evidence: {
            digest: 'aa75794783d481ae5d5c2756e022de560db621886122826516e75b5a97554510',
            position: 'rules',
          },
          reference: 'baseline',
        },
      },
      against: {
        firewall: {
          code: 'fw_policy_open',
          aspect: 'firewall',
          source: 'host',
          expected: 'closed, as in reference baseline',
          actual: 'iptables ip filter INPUT: policy drop in the baseline, hook input policy accept now',
          text: 'The node lets in what reference baseline keeps out.',
          evidence: {
            digest: 'aa75794783d481ae5d5c2756e022de560db621886122826516e75b5a97554510',
            position: 'rules',
          },
          reference: 'baseline',
          detail: [
            'iptables ip filter INPUT: policy drop in the baseline, hook input policy accept now',
            'input IPv4, any new connection',
            '  iptables ip filter INPUT: type filter hook input priority 0 policy accept',
          ],
        },
      },
    },
  },
  {
    aspect: 'host',
    what: 'has SSH',
    memory: {
      host: [
        {
          severity: 'fail',
          code: 'ssh_reachable',
          aspect: 'host',
          source: 'host',
          evidence: null,
          expected: 'no SSH that listens',
          actual: 'port 22 (the usual port)',
          text: 'SSH listens on the node.',
        },
      ],
      against: {
        host: {
          code: 'ssh_reachable',
          aspect: 'host',
          source: 'host',
          expected: 'no SSH that listens',
          actual: 'port 22 (the usual port)',
          text: 'SSH listens on the node.',
          evidence: null,
        },
      },
    },
  },
  {
    aspect: 'host',
    what: 'has an unsigned module though it is locked down',
    memory: {
      host: [
        {
          severity: 'fail',
          code: 'kernel_tainted',
          aspect: 'host',
          source: 'host',
          evidence: null,
          expected: 'none of E under lockdown integrity',
          actual: 'E (an unsigned module was loaded)',
          text: 'The kernel says that it was changed while it ran, in a way that the policy forbids.',
        },
      ],
      against: {
        host: {
          code: 'kernel_tainted',
          aspect: 'host',
          source: 'host',
          expected: 'none of E under lockdown integrity',
          actual: 'E (an unsigned module was loaded)',
          text: 'The kernel says that it was changed while it ran, in a way that the policy forbids.',
          evidence: null,
        },
      },
    },
  },
];
