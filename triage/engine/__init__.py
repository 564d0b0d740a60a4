"""Ask the model: `prompt` renders, `label` asks for one token, `explain` for JSON, `vllm` is the engine itself."""
