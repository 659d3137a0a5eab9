import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import type { Verdict } from '../../attest-server/wire/verdict.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { debianKernel } from './debian-kernel.ts';
import { type Guest, makeMachine } from './guest.ts';
import { nodeInitrd, writeNodeImage } from './node-image.ts';

/** A virtual machine that is a node of a server, with three empty disks: /dev/vdc, vdd and vde. */
export interface NodeInGuest extends AsyncDisposable {
  readonly name: string;
  readonly world: TestServer;
  readonly guest: Guest;
  /** Starts the programs of Assay there, and approves the TPM. */
  enrol(): Promise<void>;
  /** The verdict on evidence of from now on, once it is this one. @throws AssertionError with what the programs said */
  judged(wanted: string, holds: (verdict: Verdict) => boolean): Promise<Verdict>;
}

const name = 'worker-1';
const agent = {
  node: name,
  servers: ['10.0.2.100:9000'],
  caFile: '/etc/assay/ca.crt',
  stateDir: '/var/lib/assay-agent',
  tpmBroker: '/run/assay/tpm.sock',
  netfilter: '/run/assay/netfilter.sock',
};
/** Its programs as the units of manifests/host start them: the one that speaks to the network has no right at all. */
const start = `
chown -R 65532:65532 /var/lib/assay-agent
chown 0:65532 /run/assay; chmod 0750 /run/assay
chgrp 65532 /sys/kernel/security/tpm0/binary_bios_measurements /sys/kernel/security/ima/binary_runtime_measurements
program="node /opt/assay/agent/main.js"
umask 007
/usr/bin/setpriv --regid 65532 --init-groups --reuid 0 $program tpm-broker --socket /run/assay/tpm.sock >/run/broker.log 2>&1 &
/usr/bin/setpriv --regid 65532 --init-groups --reuid 0 $program netfilter --socket /run/assay/netfilter.sock >/run/netfilter.log 2>&1 &
$program inspect
/usr/bin/setpriv --reuid 65532 --regid 65532 --clear-groups --inh-caps=-all --bounding-set=-all $program run --config /etc/assay/agent.yaml >/run/agent.log 2>&1 &
echo $! >/run/agent.pid
`;

/** @param options more words of its kernel's command line */
export async function bootNode(policy: string, options = ''): Promise<NodeInGuest> {
  const resources = new AsyncDisposableStack();
  try {
    const dir = await mkdtemp(join(tmpdir(), 'assay-vm-node-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const file = join(dir, 'policy.yaml');
    await writeFile(file, policy);
    const world = resources.use(
      await startTestServer({ policy: file, names: ['10.0.2.100', '127.0.0.1'], challengeEvery: 10 }),
    );
    const kernel = resources.use(await debianKernel());
    const image = await writeNodeImage(join(dir, 'root'), kernel, {
      'etc/assay/agent.yaml': JSON.stringify(agent),
      'etc/assay/ca.crt': world.ca,
    });
    const disks = ['c', 'd', 'e'].map((letter) => join(dir, letter));
    for (const disk of disks) {
      await writeFile(disk, '');
      await truncate(disk, 96 * 1024 * 1024);
    }
    const machine = resources.use(await makeMachine());
    const guest = resources.use(
      await machine.boot(
        {
          'EFI/BOOT/BOOTX64.EFI': kernel.loader,
          'loader/loader.conf': 'timeout 0\n',
          'loader/entries/linux.conf': `title Linux\nlinux /vmlinuz\ninitrd /initrd.img\noptions console=ttyS0 no_timer_check panic=-1${options}\n`,
          vmlinuz: kernel.image,
          'initrd.img': await nodeInitrd(kernel),
        },
        { memory: 2048, disks: [image, ...disks], port: world.server.agentPort },
      ),
    );
    return {
      name,
      world,
      guest,
      async enrol() {
        await guest.shell(start);
        const waiting = z.object({ items: z.array(z.object({ ek: z.string() })) });
        const ek = await world.until(async () => {
          const { items } = waiting.parse(await world.call('GET', '/v1/enrolments'));
          return items[0]?.ek;
        }, 120_000);
        await world.call('POST', `/v1/enrolments/${name}/approve`, { ek });
      },
      async judged(wanted, holds) {
        const from = Date.now();
        const found = await world
          .until(async () => {
            const status = await world.status(name);
            // It was challenged at most some seconds before it was judged.
            if (status === null || (status.verifiedAt ?? 0) < from + 5_000) return null;
            return status.verdict !== null && holds(status.verdict) ? status.verdict : null;
          }, 120_000)
          .catch(() => null);
        if (found !== null) return found;
        const said = await guest.shell('tail -n 20 /run/agent.log /run/broker.log /run/netfilter.log');
        const last = world.verdicts.at(-1)?.verdict.reasons;
        return assert.fail(`not ${wanted}: ${JSON.stringify(last, null, 1)}\n${said}`);
      },
      [Symbol.asyncDispose]: () => resources.disposeAsync(),
    };
  } catch (error) {
    await resources.disposeAsync();
    throw error;
  }
}
