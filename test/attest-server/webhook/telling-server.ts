import { auditReader } from '../../../attest-server/audit/reader.ts';
import { createMessages } from '../../../attest-server/events/messages.ts';
import { openWebhook } from '../../../attest-server/webhook/open.ts';
import { openMadeStore } from '../store/made-store.ts';

/** Tells the webhook at argv[4] of ten events that it writes into the store at argv[2], until it is killed. */
const [, , path = '', secretFile = '', url = ''] = process.argv;
const store = await openMadeStore(path);
const monotonic = () => performance.now();
const report = { delivered() {}, failing() {}, works() {}, fault() {} };
await openWebhook(
  { url, secretFile, caFile: null },
  {
    log: auditReader(store.audit, 'webhook'),
    messages: createMessages({ store: store.events, clusterUid: null, monotonic }),
    now: Date.now,
    monotonic,
    audit: (event) => store.audit.append(event),
    report,
  },
  { lookEvery: 5 },
);
for (let count = 0; count < 10; count += 1)
  await store.audit.append({
    at: Date.now(),
    actor: `token:${count}`,
    action: 'cluster.pause',
    subject: 'cluster',
    code: null,
    detail: {},
  });
