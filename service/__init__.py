"""Online: snapshot → HTTP. FAISS, ONNX Runtime, FastAPI. Never imports training."""
