import { z } from 'zod';
import { gateOrder, openedByItself } from '../../attest-server/wire/gate.ts';
import { AgentError } from '../agent-error.ts';
import type { StateDir } from '../state-dir.ts';

const shape = z.strictObject({
  order: gateOrder.pick({ mode: true, timeout: true, onTimeout: true }).nullable(),
  /** Digests of the authorities that vouched for the server which said it: another installation's word is none here. */
  authorities: z.array(z.string().regex(/^[0-9a-f]{64}$/)).max(64),
  /** The gate opened by itself, and the server does not know yet. */
  untold: openedByItself.nullable(),
});
/** The state that a gate keeps from one boot to the next. */
export type KeptGateState = z.infer<typeof shape>;

export const nothingKept: KeptGateState = { order: null, authorities: [], untold: null };

/** @throws AgentError `state_dir` if it cannot be read, or is damaged */
export async function readKept(state: Pick<StateDir, 'read'>): Promise<KeptGateState> {
  const text = await state.read('gate');
  if (text === null) return nothingKept;
  try {
    return shape.parse(JSON.parse(text));
  } catch (cause) {
    throw new AgentError(
      'state_dir',
      'the file gate.json, with what the server last said, is damaged: remove it, and the gate starts afresh',
      { cause },
    );
  }
}

/** @throws AgentError `state_dir` */
export async function writeKept(state: Pick<StateDir, 'write'>, kept: KeptGateState): Promise<void> {
  await state.write('gate', `${JSON.stringify(kept)}\n`);
}

/** The order, where one of these authorities vouched for the server that gave it. */
export function orderUnder(
  { order, authorities }: KeptGateState,
  trusted: readonly string[],
): KeptGateState['order'] {
  return authorities.some((digest) => trusted.includes(digest)) ? order : null;
}
