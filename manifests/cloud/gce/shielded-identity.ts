import { z } from 'zod';
import { ask, asksToWait, type CloudAnswer, untilAnswered } from '../ask.ts';
import { digestOfPem } from '../ek-digest.ts';
import { CloudFault, type Lookup } from '../lookup.ts';
import { parseJson } from '../parse-json.ts';
import type { GceMachine } from './machine.ts';

const of = 'Compute Engine';
export const computeApi = new URL('https://compute.googleapis.com/');

const entry = z.object({ ekPub: z.string().min(1).max(8192).optional() }).optional();
const identity = z.object({
  kind: z.literal('compute#shieldedInstanceIdentity'),
  encryptionKey: entry,
  eccP256EncryptionKey: entry,
});
const refusal = z.object({
  error: z.object({
    errors: z
      .array(z.object({ reason: z.string() }))
      .max(100)
      .optional(),
  }),
});

/**
 * Asks `instances.getShieldedInstanceIdentity`. The vTPM has no certificate in NV, so an agent shows its RSA key
 * (`agent/node-tpm2/endorsement-key.ts`); the other one is for a vTPM that has no RSA.
 * @throws CloudFault
 */
export async function readShieldedIdentity(
  api: URL,
  { project, zone, name }: GceMachine,
  token: string,
  signal: AbortSignal,
): Promise<Lookup> {
  const path = `compute/v1/projects/${project}/zones/${zone}/instances/${name}/getShieldedInstanceIdentity`;
  return untilAnswered(async () => {
    const answer = await ask(
      { of, url: new URL(path, api), method: 'GET', headers: { authorization: `Bearer ${token}` } },
      signal,
    );
    if (answer.status === 404) return { notKnown: `${of} knows no ${name} in ${zone} of ${project}` };
    if (answer.status !== 200) throw faultOf(answer, project);
    const parsed = identity.safeParse(parseJson(answer.text));
    if (!parsed.success) throw new CloudFault(`${of} gave an answer that is no shielded identity`);
    const { encryptionKey, eccP256EncryptionKey } = parsed.data;
    const pem = encryptionKey?.ekPub ?? eccP256EncryptionKey?.ekPub;
    if (pem === undefined) return { notKnown: `${name} has no vTPM` };
    return { ek: digestOfPem(of, pem) };
  }, signal);
}

function faultOf(answer: CloudAnswer, project: string): CloudFault {
  const { status, text } = answer;
  const reasons = refusal.safeParse(parseJson(text)).data?.error.errors?.map(({ reason }) => reason) ?? [];
  if (status === 403 && reasons.some((reason) => /^(user)?rateLimitExceeded$/i.test(reason)))
    return new CloudFault(`${of} wants fewer requests (HTTP 403)`, { passes: true });
  if (status === 401)
    return new CloudFault(`${of} takes the access token for none, or for one that has ended (HTTP 401)`);
  if (status === 403)
    return new CloudFault(
      `${of} denies it (HTTP 403): the service account needs compute.instances.getShieldedInstanceIdentity in ${project}`,
    );
  return new CloudFault(`${of} answered with HTTP ${status}`, asksToWait(answer) ?? {});
}
