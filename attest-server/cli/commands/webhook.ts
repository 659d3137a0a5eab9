import { webhookTest } from '../../formats/webhook.ts';
import type { CliContext } from '../context.ts';
import { exit } from '../exit.ts';
import { type Format, print } from '../output.ts';

/** `webhook test`: whether a message arrives; exits with 1 where it does not. */
export async function tryWebhook({ io, server, exitWith }: CliContext, format: Format): Promise<void> {
  const tried = await (await server()).post('/v1/webhook/test', {}, webhookTest);
  const { delivered, text, milliseconds } = tried;
  await print(
    io,
    format,
    tried,
    () => `${delivered ? 'delivered' : 'not delivered'}: ${text}, after ${milliseconds} ms\n`,
  );
  exitWith(delivered ? exit.ok : exit.error);
}
