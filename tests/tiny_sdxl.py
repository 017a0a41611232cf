"""SDXL InstructPix2Pix and CosXL-Edit at their smallest, with random weights."""

import torch
from conftest import assembled, clip_text, clip_tokenizer, tiny_unet, tiny_vae

COSXL = {"sigma_min": 0.002, "sigma_max": 120.0, "sigma_data": 1.0}
COSXL |= {"prediction_type": "v_prediction", "sigma_schedule": "exponential"}
SDXL = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SDXL |= {"timestep_spacing": "leading", "steps_offset": 1}


def sdxl_pipeline(cosxl: bool = False, seed: int = 0):
    """`StableDiffusionXLInstructPix2PixPipeline` with rows 16 + 24 wide and a pooled vector of 20."""
    import diffusers
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    tokenizer = clip_tokenizer()
    return assembled(
        "StableDiffusionXLInstructPix2PixPipeline",
        unet=tiny_unet(
            ("DownBlock2D", "CrossAttnDownBlock2D"),
            ("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            cross_attention_dim=16 + 24,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 20,
        ),
        vae=tiny_vae(16, scaling_factor=0.13025),
        text_encoder=CLIPTextModel(clip_text(tokenizer, 16, 3, projection_dim=16)),
        text_encoder_2=CLIPTextModelWithProjection(clip_text(tokenizer, 24, 3, projection_dim=20)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=diffusers.EDMEulerScheduler(**COSXL) if cosxl else diffusers.EulerDiscreteScheduler(**SDXL),
        add_watermarker=False,
        is_cosxl_edit=cosxl,
    )
