import { auditReader } from '../../../attest-server/audit/reader.ts';
import { openWebhook } from '../../../attest-server/webhook/open.ts';
import { openMadeStore } from '../store/made-store.ts';

/** Tells the webhook at argv[4] of ten events that it writes into the store at argv[2], until it is killed. */
const [, , path = '', secretFile = '', url = ''] = process.argv;
const store = await openMadeStore(path);
const report = { delivered() {}, failing() {}, works() {}, fault() {} };
await openWebhook(
  { url, secretFile, caFile: null },
  {
    store: store.webhook,
    log: auditReader(store.audit, 'webhook'),
    clusterUid: null,
    now: Date.now,
    monotonic: () => performance.now(),
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
