import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // the same build is served below different addresses
  logLevel: "error",
  // The guide's imports are those of a Next.js project: "@/" is its root, and the address comes from its environment.
  resolve: { alias: [{ find: /^@\//, replacement: fileURLToPath(new URL("./", import.meta.url)) }] },
  define: { "process.env.NEXT_PUBLIC_CONVEX_URL": "CONVEX_URL" },
  build: {
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    rollupOptions: { input: ["index.html", "auth.html", "presence.html"] },
  },
});
