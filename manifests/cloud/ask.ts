import { setTimeout as wait } from 'node:timers/promises';
import { CloudFault } from './lookup.ts';

export interface CloudQuestion {
  /** Whom it asks, for people. */
  readonly of: string;
  readonly url: URL;
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Addresses that are reached without TLS because the cloud has them so: on the machine itself. */
  readonly plain?: readonly string[];
}

export interface CloudAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

const answerBytes = 65_536;
const onceWithinMs = 4_000;
const loopback: readonly string[] = ['127.0.0.1', '[::1]', 'localhost'];

/**
 * Asks once. No redirect is followed: what is sent may be worth stealing.
 * @throws CloudFault
 */
export async function ask(question: CloudQuestion, signal: AbortSignal): Promise<CloudAnswer> {
  const { of, url, method, headers, body, plain = [] } = question;
  if (
    url.protocol !== 'https:' &&
    !(url.protocol === 'http:' && [...loopback, ...plain].includes(url.hostname))
  )
    throw new CloudFault(`${of} is not asked without TLS at ${url.host}`);
  try {
    const answer = await fetch(url, {
      method,
      headers,
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(onceWithinMs)]),
      ...(body !== undefined && { body }),
    });
    if (answer.status >= 300 && answer.status < 400) {
      await answer.body?.cancel();
      throw new CloudFault(`${of} answered with a redirect (HTTP ${answer.status}), which is not followed`);
    }
    return { status: answer.status, headers: answer.headers, text: await boundedText(of, answer) };
  } catch (error) {
    if (error instanceof CloudFault) throw error;
    throw new CloudFault(`${of} gave no answer (${causeOf(error)})`, { passes: true, cause: error });
  }
}

/** Asks again what may pass, more and more slowly, until the time is up. @throws CloudFault the last one */
export async function untilAnswered<T>(attempt: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let pause = 200; ; pause *= 2) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof CloudFault) || !error.passes || signal.aborted) throw error;
      const jittered = pause * (0.75 + Math.random() / 2);
      await wait(Math.max(jittered, error.waitFor ?? 0), undefined, { signal }).catch(() => {
        throw error;
      });
    }
  }
}

/** HTTP's own words for "later". */
export function asksToWait({
  status,
  headers,
}: CloudAnswer): { passes: true; waitFor: number | null } | null {
  if (status !== 429 && status < 500) return null;
  const seconds = headers.get('retry-after');
  return {
    passes: true,
    waitFor: seconds !== null && /^\d{1,4}$/.test(seconds) ? Number(seconds) * 1000 : null,
  };
}

async function boundedText(of: string, answer: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.length;
    if (bytes > answerBytes) throw new CloudFault(`${of} answered with more than ${answerBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Such as ECONNREFUSED or TimeoutError: the text of a fault of the network may hold an address with secrets. */
function causeOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return 'unknown';
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.name;
}
