import { z } from 'zod';
import { ask, asksToWait, type CloudQuestion, untilAnswered } from '../ask.ts';
import { CloudFault } from '../lookup.ts';
import { parseJson } from '../parse-json.ts';
import { readSecretFile } from '../secret-file.ts';
import { faultOf } from './refusal.ts';
import type { AwsCredentials } from './signature.ts';
import { textIn } from './xml.ts';

/** Where credentials come from; each is null where the environment does not name it. */
export interface CredentialSources {
  readonly keys: AwsCredentials | null;
  /** IAM roles for service accounts: a token of the cluster, exchanged at STS. */
  readonly webIdentity: { readonly role: string; readonly tokenFile: string } | null;
  /** EKS Pod Identity: an agent on the node. */
  readonly container: { readonly url: URL; readonly tokenFile: string } | null;
  readonly sts: URL;
  /** Of the instance, which is asked last. */
  readonly metadata: URL;
}

export const instanceMetadata = new URL('http://169.254.169.254/');
/** Of ECS and of EKS Pod Identity. */
const containerHosts = ['169.254.170.2', '169.254.170.23', '[fd00:ec2::23]'];

/** In the order in which the SDKs of AWS look. @throws CloudFault */
export async function readCredentials(
  sources: CredentialSources,
  signal: AbortSignal,
): Promise<AwsCredentials> {
  const { keys, webIdentity, container } = sources;
  if (keys !== null) return keys;
  if (webIdentity !== null) return assumeRole(sources.sts, webIdentity, signal);
  if (container !== null) return ofContainer(container, signal);
  return ofInstance(sources.metadata, signal);
}

const printable = /^[\x21-\x7e]{1,8192}$/;
const credentialsSchema = z.object({
  AccessKeyId: z.string().regex(/^\w{16,128}$/),
  SecretAccessKey: z.string().regex(printable),
  Token: z.string().regex(printable),
});

async function assumeRole(
  sts: URL,
  { role, tokenFile }: { readonly role: string; readonly tokenFile: string },
  signal: AbortSignal,
): Promise<AwsCredentials> {
  const of = 'STS';
  const body = new URLSearchParams({
    Action: 'AssumeRoleWithWebIdentity',
    DurationSeconds: '900',
    RoleArn: role,
    RoleSessionName: 'assay-cloud-aws',
    Version: '2011-06-15',
    WebIdentityToken: await readSecretFile(tokenFile),
  }).toString();
  return untilAnswered(async () => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' };
    const answer = await ask({ of, url: sts, method: 'POST', headers, body }, signal);
    if (answer.status !== 200)
      throw faultOf(of, answer, 'the role must trust the service account of the server');
    const read = (name: string) => textIn(answer.text, name);
    return checked(of, {
      AccessKeyId: read('AccessKeyId'),
      SecretAccessKey: read('SecretAccessKey'),
      Token: read('SessionToken'),
    });
  }, signal);
}

async function ofContainer(
  { url, tokenFile }: { readonly url: URL; readonly tokenFile: string },
  signal: AbortSignal,
): Promise<AwsCredentials> {
  const of = 'the agent of EKS Pod Identity';
  const headers = { authorization: await readSecretFile(tokenFile) };
  const text = await untilAnswered(
    () => readText({ of, url, method: 'GET', headers, plain: containerHosts }, signal),
    signal,
  );
  return checked(of, parseJson(text));
}

/** IMDSv2: a token first, so that a request which somebody talks a program into brings nothing. */
async function ofInstance(server: URL, signal: AbortSignal): Promise<AwsCredentials> {
  const of = 'the metadata service of the instance';
  const plain = [instanceMetadata.hostname];
  return untilAnswered(async () => {
    const token = await readText(
      {
        of,
        url: new URL('latest/api/token', server),
        method: 'PUT',
        headers: { 'x-aws-ec2-metadata-token-ttl-seconds': '60' },
        plain,
      },
      signal,
    );
    if (!printable.test(token)) throw new CloudFault(`${of} gave no token`);
    const headers = { 'x-aws-ec2-metadata-token': token };
    const base = new URL('latest/meta-data/iam/security-credentials/', server);
    const role = await readText({ of, url: base, method: 'GET', headers, plain }, signal);
    if (!/^[\w+=,.@-]{1,64}$/.test(role)) throw new CloudFault(`${of} names no role`);
    const text = await readText({ of, url: new URL(role, base), method: 'GET', headers, plain }, signal);
    return checked(of, parseJson(text));
  }, signal);
}

async function readText(question: CloudQuestion, signal: AbortSignal): Promise<string> {
  const answer = await ask(question, signal);
  if (answer.status === 200) return answer.text.trim();
  if (answer.status === 404)
    throw new CloudFault(`there are no credentials: ${question.of} has no role (HTTP 404)`);
  throw new CloudFault(`${question.of} answered with HTTP ${answer.status}`, asksToWait(answer) ?? {});
}

function checked(of: string, value: unknown): AwsCredentials {
  const parsed = credentialsSchema.safeParse(value);
  if (!parsed.success) throw new CloudFault(`${of} gave an answer that holds no credentials`);
  const { AccessKeyId, SecretAccessKey, Token } = parsed.data;
  return { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: Token };
}
