import { deliveryResults } from '../formats/webhook.ts';
import type { Figures } from '../telemetry/figures.ts';
import type { Reporting } from '../telemetry/reporting.ts';
import type { DeliveryReport } from './deliveries.ts';
import type { Webhook } from './open.ts';

/** Counts deliveries, and logs when the receiver stops or resumes accepting messages. */
export function webhookReport({ figures, logger, fault }: Reporting): DeliveryReport {
  const deliveries = figures.counter(
    'webhook_deliveries_total',
    'Attempts to tell the webhook of something, and what nobody was told of (dropped)',
    ['result'],
    deliveryResults.map((result) => ({ result })),
  );
  return {
    delivered: (result, count) => deliveries.inc({ result }, count),
    failing: (text) => logger.warn(`the webhook was not told of what happened: ${text}; it is tried again`),
    works: (dropped) =>
      logger[dropped > 0 ? 'warn' : 'info']({ dropped }, 'the webhook takes messages again'),
    fault,
  };
}

export function webhookFigures(figures: Figures, webhook: Pick<Webhook, 'figures'>): void {
  figures.sampled(
    'webhook_queue_length',
    'What the webhook is still to be told',
    () => webhook.figures().waiting,
  );
  figures.sampled(
    'webhook_oldest_timestamp_seconds',
    'When the oldest of it happened; 0 where nothing waits',
    () => (webhook.figures().oldest ?? 0) / 1000,
  );
}
