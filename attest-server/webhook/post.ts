import { createHmac } from 'node:crypto';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { DeliveryResult } from '../formats/webhook.ts';
import type { Endpoint } from './endpoint.ts';

export interface PostResult {
  readonly result: Exclude<DeliveryResult, 'dropped'>;
  /** HTTP status; null if no answer came. */
  readonly status: number | null;
  /** Milliseconds for which the receiver asks not to be sent anything; null if it does not say. */
  readonly retryAfter: number | null;
  /** A sentence for people, with nothing of what the receiver sent. */
  readonly text: string;
}

export interface PostParts {
  readonly endpoint: Endpoint;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** The timeout of the whole request, in milliseconds. */
  readonly within: number;
  /** Aborted when the server ends. */
  readonly signal: AbortSignal;
}

/** The longest wait that a receiver may ask for, in milliseconds. */
const longestRetryAfter = 3_600_000;
const mostHeaderBytes = 16 * 1024;
const mostAnswerBytes = 64 * 1024;

/**
 * Sends one message, signed as in Standard Webhooks 1.0.0: HMAC-SHA256 over id, timestamp and body.
 * Only the status and `retry-after` of the answer count, and no redirect is followed.
 */
export function post(
  id: string,
  body: string,
  { endpoint, now, within, signal }: PostParts,
): Promise<PostResult> {
  const { url, authorities, secrets } = endpoint;
  const moment = String(Math.floor(now / 1000));
  const deadline = AbortSignal.timeout(within);
  const { promise, resolve } = Promise.withResolvers<PostResult>();
  const options = {
    method: 'POST',
    // A connection that the receiver closes just then would cost an attempt.
    agent: false,
    // Whatever the environment says.
    rejectUnauthorized: true,
    maxHeaderSize: mostHeaderBytes,
    signal: AbortSignal.any([deadline, signal]),
    headers: {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'user-agent': 'assay-server',
      connection: 'close',
      'webhook-id': id,
      'webhook-timestamp': moment,
      'webhook-signature': secrets.map((secret) => sign(secret, `${id}.${moment}.${body}`)).join(' '),
    },
  };
  const asked =
    url.protocol === 'https:'
      ? httpsRequest(url, { ...options, ...(authorities !== null && { ca: [...authorities] }) })
      : httpRequest(url, options);
  asked.on('response', (answer) => {
    resolve(resultOf(answer, now));
    // What it says is of no use, and may be endless.
    let bytes = 0;
    answer.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > mostAnswerBytes) answer.destroy();
    });
    answer.on('error', () => {});
  });
  asked.on('error', (error) => {
    if (deadline.aborted)
      resolve({
        result: 'timed_out',
        status: null,
        retryAfter: null,
        text: `no answer within ${Math.ceil(within / 1000)} s`,
      });
    else resolve({ result: 'unreachable', status: null, retryAfter: null, text: textOf(error) });
  });
  asked.end(body);
  return promise;
}

function sign(secret: Buffer, signed: string): string {
  return `v1,${createHmac('sha256', secret).update(signed).digest('base64')}`;
}

function resultOf({ statusCode = 0, headers }: IncomingMessage, now: number): PostResult {
  const isTaken = statusCode >= 200 && statusCode < 300;
  const isRedirect = statusCode >= 300 && statusCode < 400;
  return {
    result: isTaken ? 'delivered' : 'rejected',
    status: statusCode,
    retryAfter: isTaken ? null : retryAfterOf(headers['retry-after'], now),
    text: `the receiver answered ${statusCode}${isRedirect ? ', and redirects are not followed' : ''}`,
  };
}

/** `Retry-After` in milliseconds: seconds, or a date (RFC 9110, 10.2.3). */
function retryAfterOf(value: string | undefined, now: number): number | null {
  if (value === undefined) return null;
  const wait = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isNaN(wait) ? null : Math.min(longestRetryAfter, Math.max(0, wait));
}

/** Names the error by its system or TLS code; text of the peer is not repeated. */
function textOf(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  return `no connection to the receiver, or no answer over it (${code})`;
}
