/** Where the server keeps its lease; it is made before the server, as by whoever installs it. */
export const namespaceOfServer = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'assay' } };
