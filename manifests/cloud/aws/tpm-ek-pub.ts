import { ask, untilAnswered } from '../ask.ts';
import { digestOfArea } from '../ek-digest.ts';
import { CloudFault, type Lookup } from '../lookup.ts';
import type { AwsMachine } from './machine.ts';
import { codeOf, faultOf } from './refusal.ts';
import { type AwsCredentials, signed } from './signature.ts';
import { textIn } from './xml.ts';

const of = 'EC2';

/**
 * Asks `GetInstanceTpmEkPub`. NitroTPM has no certificate in NV, so an agent shows its RSA key
 * (`agent/node-tpm2/endorsement-key.ts`).
 * @throws CloudFault
 */
export async function readTpmEkPub(
  endpoint: URL,
  { region, instance }: AwsMachine,
  credentials: AwsCredentials,
  signal: AbortSignal,
): Promise<Lookup> {
  const body = new URLSearchParams({
    Action: 'GetInstanceTpmEkPub',
    InstanceId: instance,
    KeyFormat: 'tpmt',
    KeyType: 'rsa-2048',
    Version: '2016-11-15',
  }).toString();
  return untilAnswered(async () => {
    const headers = signed(
      {
        method: 'POST',
        url: endpoint,
        headers: { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' },
        body,
      },
      credentials,
      { region, service: 'ec2', at: new Date() },
    );
    const answer = await ask({ of, url: endpoint, method: 'POST', headers, body }, signal);
    if (answer.status !== 200) {
      const code = codeOf(answer);
      if (code === 'InvalidInstanceID.NotFound' || code === 'InvalidInstanceID.Malformed')
        return { notKnown: `${of} knows no ${instance} in ${region} of this account (${code})` };
      throw faultOf(of, answer, 'the role needs ec2:GetInstanceTpmEkPub');
    }
    const { text } = answer;
    const key = textIn(text, 'keyValue');
    if (key === null || !/^[A-Za-z0-9+/=\s]+$/.test(key) || textIn(text, 'keyFormat') !== 'tpmt')
      throw new CloudFault(`${of} gave an answer that holds no endorsement key in the format tpmt`);
    if (textIn(text, 'instanceId') !== instance)
      throw new CloudFault(`${of} answered about another instance`);
    return { ek: digestOfArea(of, Buffer.from(key, 'base64')) };
  }, signal);
}
