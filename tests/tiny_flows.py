"""The flow editors' models at their smallest, with random weights and tokenizers made from nothing."""

import torch
from conftest import assembled, clip_text, clip_tokenizer, tiny_vae
from tokenizers import pre_tokenizers

# A user turn, then an empty thought of the assistant, as in Qwen3's own template.
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
# Of text and vision encoders.
NARROW = {"hidden_size": 16, "intermediate_size": 32}
SPECIAL = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
SEEN = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
# A system message and a user turn, as in Mistral Small 3's own template.
TURNS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}[SYSTEM_PROMPT]{{ m.content[0].text }}"
    "[/SYSTEM_PROMPT]{% else %}[INST]{{ m.content[0].text }}[/INST]{% endif %}{% endfor %}"
)


def qwen_tokenizer():
    """`Qwen2TokenizerFast` of single bytes, with the special tokens and the chat template of Qwen3."""
    from transformers import Qwen2TokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([*letters, "<|endoftext|>"])}
    tokenizer = Qwen2TokenizerFast(vocab=vocabulary, merges=[], chat_template=CHAT)
    tokenizer.add_tokens(SPECIAL + SEEN, special_tokens=True)
    tokenizer.padding_side = "right"
    return tokenizer


def flow_scheduler(**options):
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, **options)


def klein_pipeline(distilled: bool, seed: int = 0):
    """`Flux2KleinPipeline` with 4 layers of Qwen3, rows 48 wide, 3 blocks, and a batch norm that does something."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    tokenizer = qwen_tokenizer()
    size = {"num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, **NARROW}
    size |= {"max_position_embeddings": 1024, "tie_word_embeddings": True}  # tied as of 4B
    text_encoder = Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **size))
    parts = {"text_encoder": text_encoder, "tokenizer": tokenizer, **flux2(guidance_embeds=False)}
    return assembled("Flux2KleinPipeline", **parts, is_distilled=distilled)


def flux2(guidance_embeds: bool):
    """A transformer of 3 blocks that reads rows 48 wide, and an autoencoder whose batch norm does something."""
    import diffusers

    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=16,  # 4 latent channels, 2 x 2
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=48,
        axes_dims_rope=(8, 8, 8, 8),
        guidance_embeds=guidance_embeds,
    )
    vae = tiny_vae(8, "AutoencoderKLFlux2", layers_per_block=1, sample_size=64)
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2)
    return {"transformer": transformer, "vae": vae, "scheduler": flow_scheduler()}


def mistral_processor():
    """`PixtralProcessor` around a tokenizer of single bytes, which pads on the left as FLUX.2 [dev]'s does."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PixtralImageProcessor, PixtralProcessor, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="left"
    )
    marks = ["[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    tokenizer.add_tokens(marks, special_tokens=True)
    return PixtralProcessor(PixtralImageProcessor(), tokenizer, chat_template=TURNS)


def dev_pipeline(seed: int = 0):
    """`Flux2Pipeline` with 4 layers of Mistral 3, guidance told, rows 48 wide."""
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    torch.manual_seed(seed)
    processor = mistral_processor()
    width = {"num_attention_heads": 2, "head_dim": 8, **NARROW}
    text = {"model_type": "mistral", "vocab_size": len(processor.tokenizer), "num_hidden_layers": 4}
    text |= {"num_key_value_heads": 1, "max_position_embeddings": 1024, "sliding_window": None, **width}
    vision = {"model_type": "pixtral", "num_hidden_layers": 1, "image_size": 32, "patch_size": 8, **width}
    image = processor.tokenizer.convert_tokens_to_ids("[IMG]")
    text_encoder = Mistral3ForConditionalGeneration(
        Mistral3Config(text_config=text, vision_config=vision, image_token_index=image)
    )
    return assembled("Flux2Pipeline", text_encoder=text_encoder, tokenizer=processor, **flux2(guidance_embeds=True))


def qwen_pipeline(plus: bool = True, zero_cond_t: bool = False, seed: int = 0):
    """`QwenImageEditPlusPipeline` or `QwenImageEditPipeline` with rows 16 wide; 2511 is Plus with `zero_cond_t`."""
    import diffusers
    import transformers as tf

    torch.manual_seed(seed)
    tokenizer = qwen_tokenizer()
    start, end, image, video = tokenizer.convert_tokens_to_ids(SEEN)
    sizes = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    images = tf.Qwen2VLImageProcessor(**sizes, size={"shortest_edge": 8 * 8, "longest_edge": 32 * 32})
    processor = tf.Qwen2VLProcessor(
        image_processor=images, tokenizer=tokenizer, video_processor=tf.Qwen2VLVideoProcessor()
    )
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}
    text = {"vocab_size": len(tokenizer), "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    text |= {"max_position_embeddings": 4096, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, **NARROW}
    text |= {"pad_token_id": tokenizer.pad_token_id, "rope_parameters": rope}
    vision = {"depth": 2, "num_heads": 2, "out_hidden_size": 16, "patch_size": 4, "spatial_merge_size": 2, **NARROW}
    vision |= {"temporal_patch_size": 2, "window_size": 16, "fullatt_block_indexes": [1]}
    tokens = {"image_token_id": image, "video_token_id": video}
    tokens |= {"vision_start_token_id": start, "vision_end_token_id": end}
    text_encoder = tf.Qwen2_5_VLForConditionalGeneration(
        tf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
    )
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=16,  # 4 latent channels, 2 x 2
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
        zero_cond_t=zero_cond_t,
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, False],
        latents_mean=[0.1, -0.2, 0.0, 0.3],
        latents_std=[1.5, 0.7, 1.0, 2.0],
    )
    return assembled(
        "QwenImageEditPlusPipeline" if plus else "QwenImageEditPipeline",
        scheduler=flow_scheduler(base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        processor=processor,
        transformer=transformer,
    )


def t5_tokenizer():
    """`T5TokenizerFast` (a unigram model) whose pieces are single characters and the mark of a word's start."""
    from transformers import T5TokenizerFast

    special = [(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>")]
    characters = [(piece, -2.0) for piece in ("\u2581", *map(chr, range(33, 127)))]
    return T5TokenizerFast(vocab=special + characters, extra_ids=0)


def kontext_pipeline(seed: int = 0):
    """`FluxKontextPipeline` with rows 24 wide, a pooled vector of 16, 3 blocks."""
    import diffusers
    from transformers import CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(seed)
    clip, t5 = clip_tokenizer(), t5_tokenizer()
    size = {"d_model": 24, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 3, "feed_forward_proj": "gated-gelu"}
    unquantised = {"use_quant_conv": False, "use_post_quant_conv": False}
    return assembled(
        "FluxKontextPipeline",
        text_encoder=CLIPTextModel(clip_text(clip, 16, heads=2)),
        text_encoder_2=T5EncoderModel(T5Config(vocab_size=len(t5), **size)),
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=16,  # 4 latent channels, 2 x 2
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=24,
            pooled_projection_dim=16,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        ),
        vae=tiny_vae(8, scaling_factor=0.3611, shift_factor=0.1159, **unquantised),
        scheduler=flow_scheduler(shift=3.0),
        tokenizer=clip,
        tokenizer_2=t5,
    )
