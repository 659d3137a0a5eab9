import { Counter, Gauge, type Registry } from 'prom-client';
import { type DeliveryResult, deliveryResults } from '../formats/webhook.ts';
import type { Webhook } from '../webhook/open.ts';

/** What the webhook counts. */
export interface WebhookMetrics {
  delivered(result: DeliveryResult, count: number): void;
  /** Asked at each scrape what waits. */
  figures(of: Webhook['figures']): void;
}

export function webhookMetrics(registry: Registry): WebhookMetrics {
  const registers = [registry];
  let figures: Webhook['figures'] = () => ({ waiting: 0, oldest: null });
  const deliveries = new Counter({
    name: 'assay_webhook_deliveries_total',
    help: 'Attempts to tell the webhook of something, and what nobody was told of (dropped)',
    labelNames: ['result'],
    registers,
  });
  new Gauge({
    name: 'assay_webhook_queue_length',
    help: 'What the webhook is still to be told',
    registers,
    collect() {
      this.set(figures().waiting);
    },
  });
  new Gauge({
    name: 'assay_webhook_oldest_timestamp_seconds',
    help: 'When the oldest of it happened; 0 where nothing waits',
    registers,
    collect() {
      this.set((figures().oldest ?? 0) / 1000);
    },
  });
  for (const result of deliveryResults) deliveries.inc({ result }, 0);
  return {
    delivered: (result, count) => deliveries.inc({ result }, count),
    figures(of) {
      figures = of;
    },
  };
}
