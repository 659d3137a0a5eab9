import { connect } from 'node:net';
import type { Health } from './health-socket.ts';

/** The most bytes of an answer. */
const longest = 1024;

/**
 * Asks a program of this machine how it is. Each probe of a kubelet is a process that does this alone: it loads little.
 * @param within milliseconds for the whole answer
 * @returns what it said; a program that does not answer in time is not alive
 */
export function askHealth(socket: string, within: number): Promise<Health> {
  return new Promise((resolve) => {
    const client = connect(socket);
    let said = '';
    const settle = (health: Health) => {
      clearTimeout(late);
      client.destroy();
      resolve(health);
    };
    const fail = (why: string) => settle({ isAlive: false, isReady: false, text: `${socket}: ${why}` });
    const late = setTimeout(() => fail(`no answer within ${within} ms`), within);
    client.setEncoding('utf8');
    client.on('data', (text: string) => {
      said += text;
      if (said.length > longest) fail('the answer is too long');
    });
    client.once('end', () => {
      const health = parseHealth(said);
      if (health === null) fail('the program that answers there has another version');
      else settle(health);
    });
    client.once('error', (error) => fail('code' in error ? String(error.code) : error.message));
  });
}

/** Null if it is none. */
export function parseHealth(text: string): Health | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const isAlive = 'isAlive' in value ? value.isAlive : null;
  const isReady = 'isReady' in value ? value.isReady : null;
  const said = 'text' in value ? value.text : null;
  if (typeof isAlive !== 'boolean' || typeof isReady !== 'boolean' || typeof said !== 'string') return null;
  return { isAlive, isReady, text: said.replace(/[^\x20-\x7e]/g, '?') };
}
