import { after } from 'mocha';
import { type ApiServer, openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { administrator } from '../../swtpm-fixtures/api-server/users.ts';
import { describeManifests } from './manifests.ts';

let api: ApiServer | undefined;
after(() => api?.[Symbol.asyncDispose]());

describeManifests('the API server of the tests', async () => {
  // As in a cluster, a policy acts a moment after it was made.
  api = await openApiServer({ settleMs: 50 });
  return api.kubeconfig(administrator);
});
