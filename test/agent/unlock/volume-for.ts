import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { z } from 'zod';
import { volumeMade } from '../../../attest-server/api/volume-api.ts';
import type { FixtureMachine } from '../../../swtpm-fixtures/machine.ts';
import { ekDigestOf, startAgent } from '../../attest-server/real-agent.ts';

/** Writes a wrapping key and a policy, as a server needs them that gives keys to every node. @param identity of age: who recovers */
export async function writeKeySettings(
  folder: string,
  identity?: string,
): Promise<{ readonly policy: string; readonly wrappingKeyFile: string }> {
  const [policy, wrappingKeyFile] = [join(folder, 'policy.yaml'), join(folder, 'wrapping-key')];
  await writeFile(wrappingKeyFile, randomBytes(32).toString('base64'), { mode: 0o400 });
  await writeFile(policy, policyWithKeys(await identityToRecipient(identity ?? (await generateIdentity()))));
  return { policy, wrappingKeyFile };
}

/** A policy by which every node may have keys. @param recipient of age: who may recover a volume */
export function policyWithKeys(recipient: string): string {
  return [
    'apiVersion: assay.dev/v1\nkind: Policy\ngroups:',
    '  - {name: default, nodes: ["*"], mode: enforce, require: [identity, boot], enrolment: [pin],',
    `     keys: {recoveryRecipients: [${recipient}], allowUnmeasuredRoot: true}}\n`,
  ].join('\n');
}

/**
 * Has a server pin a machine's TPM and trust its boot, and makes a volume for it, which nobody has formatted yet.
 * @param call calls the API as an administrator, and gives what it answers
 * @returns LUKS UUID
 */
export async function volumeFor(
  machine: FixtureMachine,
  node: string,
  server: { readonly port: number; readonly caFile: string },
  call: (method: 'GET' | 'POST', path: string, body?: object) => Promise<unknown>,
): Promise<string> {
  await call('POST', '/v1/pins', { pins: [{ node, ek: await ekDigestOf(machine) }] });
  {
    await using _agent = await startAgent(machine, node, server);
    // Refused until it has proven itself.
    await until(() => call('POST', '/v1/references', { node, name: `boot-${node}` }).catch(() => null));
    await until(async () => judged.parse(await call('GET', `/v1/nodes/${node}`)).state === 'trusted');
  }
  const volume = { node, name: 'docker', path: '/var/lib/docker' };
  return volumeMade.parse(await call('POST', '/v1/volumes', volume)).uuid;
}

const judged = z.object({ state: z.string() });

/** What `found` gives, once it gives something. */
export async function until<T>(found: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (const end = performance.now() + 30_000; ; await sleep(50)) {
    const value = await found();
    if (value) return value;
    assert(performance.now() < end, `not in time: ${found}`);
  }
}
