import { defineConfig } from 'vite';

export default defineConfig({
  build: {
    target: 'es2022',
    // The page's policy is `default-src 'self'`: nothing may become a data: address.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    // `npm run dev` against a node on this machine.
    proxy: {
      '^/(whip|whep|sessions|v1)/': 'http://127.0.0.1:8080',
    },
  },
});
