import { z } from 'zod';
import { ask, asksToWait, untilAnswered } from '../ask.ts';
import { CloudFault } from '../lookup.ts';
import { parseJson } from '../parse-json.ts';

/** Where every machine and pod of Google Cloud finds it. An address: nobody can answer for its name. */
export const metadataServer = new URL('http://169.254.169.254/');

const tokenAnswer = z.object({
  access_token: z.string().regex(/^[\x21-\x7e]{1,8192}$/),
  token_type: z.literal('Bearer'),
});

/** Of the service account that this machine or pod runs as. @throws CloudFault */
export async function readAccessToken(server: URL, signal: AbortSignal): Promise<string> {
  const text = await read(server, 'instance/service-accounts/default/token', signal);
  const parsed = tokenAnswer.safeParse(parseJson(text));
  if (parsed.success) return parsed.data.access_token;
  throw new CloudFault('the metadata server gave no access token');
}

/** The project in which this machine or pod runs. @throws CloudFault */
export async function readOwnProject(server: URL, signal: AbortSignal): Promise<string> {
  const text = await read(server, 'project/project-id', signal);
  if (/^[a-z0-9.:-]{1,128}$/.test(text)) return text;
  throw new CloudFault('the metadata server named no project');
}

async function read(server: URL, path: string, signal: AbortSignal): Promise<string> {
  const of = 'the metadata server';
  return untilAnswered(async () => {
    const answer = await ask(
      {
        of,
        url: new URL(`computeMetadata/v1/${path}`, server),
        method: 'GET',
        headers: { 'metadata-flavor': 'Google' },
        plain: [metadataServer.hostname],
      },
      signal,
    );
    if (answer.status === 404)
      throw new CloudFault(`${of} has no ${path}: give the pod or machine a service account`);
    if (answer.status !== 200)
      throw new CloudFault(`${of} answered with HTTP ${answer.status}`, asksToWait(answer) ?? {});
    if (answer.headers.get('metadata-flavor') !== 'Google')
      throw new CloudFault(`what answers at ${server.host} is not ${of} of Google Cloud`);
    return answer.text;
  }, signal);
}
